from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model, models
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.named import make_step_time
from support.cli import printed, refused

CONFIGS = Path(__file__).parents[2] / "oracles/configs"

# Parameters of the published weight files (the safetensors index on each model's Hugging Face page).
PUBLISHED_PARAMS = {
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "google/gemma-3-4b-it": 4_300_079_472,
    "google/gemma-3-12b-it": 12_187_325_040,
    "google/gemma-3-27b-it": 27_432_406_640,
}

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def write(folder: Path, config: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(("name", "params"), PUBLISHED_PARAMS.items())
def test_the_shapes_give_the_published_parameter_count(name: str, params: int) -> None:
    assert find_model(name).n_params == params


def test_every_catalogue_model_is_checked_against_a_published_count() -> None:
    assert {find_model(name).name for name in PUBLISHED_PARAMS} == {model.name for model in models()}


@pytest.mark.parametrize(
    "spelling", ["Llama-3.1-8B", "llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct", " LLAMA_3.1_8B ", "llama-8b"]
)
def test_a_model_is_found_by_any_of_its_names(spelling: str) -> None:
    assert find_model(spelling).name == "Llama-3.1-8B"


def test_no_two_entries_share_a_name() -> None:
    names = [name.casefold() for model in models() for name in (model.name, *model.aliases)]
    assert len(names) == len(set(names))


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'qwen3-9b', did you mean 'Qwen3-8B'\?"):
        find_model("qwen3-9b")


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_local_configuration_gives_the_same_shapes_as_the_catalogue(tmp_path: Path, as_folder: bool) -> None:
    path = write(tmp_path, LLAMA_8B)
    read, known = find_model(tmp_path if as_folder else path), find_model("llama-3.1-8b")
    assert read.n_params == known.n_params
    assert (read.n_kv_heads, read.head_dim, read.max_model_len) == (8, 128, 131072)
    assert str(path) in read.source


def test_missing_fields_take_hugging_faces_defaults(tmp_path: Path) -> None:
    config = {
        key: value for key, value in LLAMA_8B.items() if key not in ("num_key_value_heads", "tie_word_embeddings")
    }
    model = find_model(write(tmp_path, config))
    assert (model.n_kv_heads, model.head_dim, model.tied_embeddings) == (32, 128, False)


def test_head_dim_need_not_be_hidden_over_heads(tmp_path: Path) -> None:
    assert find_model(write(tmp_path, {**LLAMA_8B, "head_dim": 64})).head_dim == 64


def test_the_text_part_of_a_multimodal_configuration_is_read(tmp_path: Path) -> None:
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
    }
    outer = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 1152}}
    model, known = find_model(write(tmp_path, outer)), find_model("gemma-3-12b")
    read, published = ([w for w in one.weights if w.use != "tower"] for one in (model, known))
    assert read == published
    assert (model.sliding_window, model.n_sliding_layers, model.tied_embeddings) == (1024, 40, True)


@pytest.mark.parametrize(
    ("extra", "window", "layers"),
    [
        ({}, None, 0),
        ({"sliding_window": None}, None, 0),
        ({"sliding_window": 4096}, 4096, 32),
        ({"sliding_window": 4096, "model_type": "gemma2"}, 4096, 16),
        ({"sliding_window": 4096, "use_sliding_window": False}, 4096, 32),  # which Llama does not heed
        ({"sliding_window": 4096, "use_sliding_window": False, "model_type": "qwen2"}, None, 0),
        ({"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 28}, 4096, 32),
        ({"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 16}, 128, 16),
    ],
)
def test_sliding_window_layers_are_counted(
    tmp_path: Path, extra: dict[str, Any], window: int | None, layers: int
) -> None:
    model = find_model(write(tmp_path, {**LLAMA_8B, **extra}))
    assert (model.sliding_window, model.n_sliding_layers) == (window, layers)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("of my own", "architecture of mine"),
        ("llama-3.1-405b-fp8", "fbgemm_fp8 is deprecated"),
    ],
)
def test_what_is_read_and_cannot_be_timed_names_the_remedy(config: str, expected: str, tmp_path: Path) -> None:
    folder = CONFIGS / config
    if config == "of my own":
        folder = write(tmp_path, {**LLAMA_8B, "model_type": "mine", "layer_types": ["architecture of mine"] * 32})
    model = find_model(folder)
    with pytest.raises(ConfigError, match=expected) as caught:
        make_step_time("roofline", model=model, gpu=find_gpu("h100"))
    assert "--step-time fitted:FILE" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_remedy_works(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A name, a length and attention shapes suffice where step times and blocks are given."""
    shapes = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64}
    path = write(tmp_path, {"model_type": "mine", "max_position_embeddings": 131072, "experts_of_my_own": 8, **shapes})
    fit = tmp_path / "fit.json"
    terms = '"per_token_s": 2e-5, "per_decode_context_token_s": 2e-9, "per_prefill_pair_s": 1e-10'
    fit.write_text(f'{{"kind": "fitted", "c0_s": 0.004, {terms}, "provenance": {{}}}}')
    asked = [*("run", "--model", path, "--gpu", "h100", "--policy", "lru", "--limit", 2, "--max-turns", 2)]
    measured = [*asked, "--step-time", f"fitted:{fit}", "--kv-blocks", 40000]
    assert f"{tmp_path.name} on H100: 40,000 KV blocks" in printed(capsys, *measured)
    # 2 KV heads of 64, keys and values, 4 layers of 16 tokens of bf16
    tiers = resolve(RunConfig(model=str(path), kv_blocks=4000, step_time=f"fitted:{fit}", dram_gb=1.0)).engine.tiers
    assert tiers is not None
    assert tiers.block_bytes == 2 * 2 * 64 * 4 * 16 * 2
    for missing in (measured[:-2], asked):
        assert "hidden_size" in refused(capsys, *missing)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_size": None}, "hidden_size is null, expected a value"),
        ({"num_hidden_layers": "32"}, "num_hidden_layers is '32', expected a positive whole number"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"num_key_value_heads": 5}, r"num_key_value_heads is 5, expected a divisor of num_attention_heads \(32\)"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no', expected true or false"),
        ({"sliding_window": 64, "layer_types": ["full_attention"]}, "layer_types is '1 long', expected 32 entries"),
    ],
)
def test_a_malformed_configuration_names_file_and_field(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = write(tmp_path, {**LLAMA_8B, **change})
    with pytest.raises(ConfigError, match=expected) as caught:
        find_model(path).known_weights()
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("text", "expected"), [("{", "is not JSON"), ("[]", "expected a JSON object")])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        find_model(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*nowhere/config\.json"):
        find_model(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"no file .*config\.json"):
        find_model(tmp_path)
    with pytest.raises(ConfigError, match="empty"):
        find_model(" ")
