from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import ModelSpec, find_gpu, find_model, kv_blocks, models
from continuum_sim.hardware.catalogue import fold
from continuum_sim.hardware.groups import model_groups
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.named import make_step_time
from support.cli import printed, refused

B200 = find_gpu("B200")
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


# Billions of parameters on model cards, of models whose names do not say them.
SAID_B = {
    "Llama-4-Scout-17B-16E": 109,
    "Llama-4-Maverick-17B-128E": 400,
    "Mixtral-8x7B": 46.7,
    "Mixtral-8x22B": 141,
    "GLM-4.5": 355,
    "GLM-4.6": 355,
    "GLM-4.5-Air": 106,
    "GLM-5": 744,
    "DeepSeek-V3": 671,
    "DeepSeek-R1": 671,
    "DeepSeek-V4-Pro": 1600,
    "DeepSeek-V4-Flash": 284,
    "Kimi-K2-Instruct": 1000,
    "MiniMax-M2": 230,
    "MiMo-V2-Flash": 309,
    "Step-3.5-Flash": 196,
    "Hunyuan-A13B": 80,
    "Mistral-Large-2407": 123,
    "Command-A": 111,
}


@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_every_catalogue_model_is_whole(model: ModelSpec) -> None:
    """Its size is the one in its name or on its card, and a memory and blocks can be said of it."""
    model.known_weights()
    said_b = SAID_B.get(model.name) or (float(size[1]) if (size := re.search(r"-(\d[\d.]*)B", model.name)) else None)
    if said_b is not None:
        assert model.n_params / 1e9 == pytest.approx(said_b, rel=0.12 if said_b > 1.5 else 0.25)
    assert model.source.count("/") >= 1
    assert len(model_groups(model).groups) >= 1
    for size in (1, 2, 4, 8):
        if model.weight_bytes_per_rank(Parallel(size)) < 0.8 * B200.memory_bytes:
            assert kv_blocks(model, B200, parallel=Parallel(size)) > 100
            break


def test_the_catalogue_holds_the_models_users_ask_for() -> None:
    assert len(models()) >= 100
    assert {find_model(name).name for name in SHORT} == set(SHORT.values())


SHORT = {
    "llama-8b": "Llama-3.1-8B",
    " LLAMA_3.1_8B ": "Llama-3.1-8B",
    "meta-llama/Llama-3.1-8B-Instruct": "Llama-3.1-8B",
    "llama3.1:70b": "Llama-3.1-70B",
    "llama-4-scout": "Llama-4-Scout-17B-16E",
    "qwen3-30b": "Qwen3-30B-A3B",
    "qwen3-30b-a3b": "Qwen3-30B-A3B",
    "qwen3-30b-fp8": "Qwen3-30B-A3B-FP8",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "Qwen3-30B-A3B-Instruct-2507",
    "qwen3-coder-30b": "Qwen3-Coder-30B-A3B",
    "qwen3-coder-480b": "Qwen3-Coder-480B-A35B",
    "qwen3-next-80b": "Qwen3-Next-80B-A3B",
    "qwen3-next": "Qwen3-Next-80B-A3B",
    "qwen-3-235b": "Qwen3-235B-A22B",
    "qwen3.5-27b": "Qwen3.5-27B",
    "qwen3.5-397b": "Qwen3.5-397B-A17B",
    "mixtral-8x7b": "Mixtral-8x7B",
    "gpt-oss-20b": "gpt-oss-20b",
    "gpt-oss:120b": "gpt-oss-120b",
    "glm-4.5-air": "GLM-4.5-Air",
    "glm4.6": "GLM-4.6",
    "glm-5": "GLM-5",
    "deepseek-v3.2": "DeepSeek-V3.2",
    "deepseek-v4-pro": "DeepSeek-V4-Pro",
    "deepseek-v4-flash": "DeepSeek-V4-Flash",
    "deepseek-r1": "DeepSeek-R1",
    "kimi-k2": "Kimi-K2-Instruct",
    "kimi-k3": "Kimi-K3",
    "minimax-m2": "MiniMax-M2",
    "minimax-m3": "MiniMax-M3",
    "devstral-small": "Devstral-Small-2507",
    "mistral-7b": "Mistral-7B-v0.3",
    "mistral-small": "Mistral-Small-24B",
    "nemotron-3-nano": "Nemotron-3-Nano-30B-A3B",
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16": "Nemotron-3-Super-120B-A12B",
    "gemma-3-27b": "Gemma-3-27B",
    "gemma-4-31b": "Gemma-4-31B",
}


def test_a_model_is_found_by_all_its_names_and_no_other_has_them() -> None:
    names = [(fold(name), model.name) for model in models() for name in (model.name, *model.aliases)]
    assert len({name for name, _ in names}) == len(names)
    for name, model in names:
        assert find_model(name).name == model
        assert find_model(f"some-maker/{name.upper()}").name == model


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deepseek-v4", "'deepseek-v4' is several: DeepSeek-V4-Flash, DeepSeek-V4-Pro; name one"),
        ("gemma-4", "is several: Gemma-4-26B-A4B, Gemma-4-31B; name one"),
        ("mistral", "is several: Mistral-7B-v0.3, Mistral-Nemo-12B, "),
        ("qwen3", r"is several: Qwen3-0.6B, .* and \d+ more; name one"),
        ("glm-4.7", "unknown model 'glm-4.7', did you mean 'GLM-4.7-Flash'"),
        ("deepseek-v2", "unknown model 'deepseek-v2', did you mean 'DeepSeek-V2-Lite'"),
        ("qwen3-30b-a3b-fp4", "unknown model"),
        ("-", "unknown model '-'; `continuum-sim hardware` lists"),
    ],
)
def test_a_shortened_name_that_is_no_model_or_several_names_those_there_are(name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        find_model(name)


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
