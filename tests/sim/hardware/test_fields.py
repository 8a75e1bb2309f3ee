"""Fields as the class of a configuration would hold them, and classes that vLLM does not have."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.refresh import CONFIGS

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import ModelSpec, find_gpu, find_model, kv_blocks
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.parallel import Parallel

SHAPES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
}


def fields(model_type: str, **own: Any) -> Fields:
    return Fields(Path("config.json"), {"model_type": model_type, **own}).text()


def read(folder: Path, **config: Any) -> ModelSpec:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **SHAPES, **config}))
    return find_model(folder)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "gpt2", "n_embd": 8}, {"hidden_size": 8, "intermediate_size": 32, "num_hidden_layers": 12}),
        ({"model_type": "gpt2", "n_embd": 8, "n_inner": 20}, {"intermediate_size": 20}),
        ({"model_type": "gptj", "n_embd": 8, "n_inner": None}, {"intermediate_size": 32}),
        ({"model_type": "gpt_bigcode", "n_head": 4}, {"num_key_value_heads": 1, "num_attention_heads": 4}),
        ({"model_type": "gpt_bigcode", "n_head": 4, "multi_query": False}, {"num_key_value_heads": 4}),
        ({"model_type": "bloom", "hidden_size": 8}, {"intermediate_size": 32, "max_position_embeddings": None}),
        ({"model_type": "bloom", "n_embed": 16, "n_layer": 3}, {"hidden_size": 16, "num_hidden_layers": 3}),
        ({"model_type": "falcon", "num_kv_heads": 71}, {"num_key_value_heads": 1}),
        ({"model_type": "falcon", "num_kv_heads": 8, "new_decoder_architecture": True}, {"num_key_value_heads": 8}),
        ({"model_type": "falcon", "multi_query": False, "num_attention_heads": 6}, {"num_key_value_heads": 6}),
        ({"model_type": "RefinedWeb", "n_head_kv": 8, "multi_query": False}, {"num_key_value_heads": 8}),
        ({"model_type": "opt", "ffn_dim": 24}, {"intermediate_size": 24}),
        ({"model_type": "chatglm", "seq_length": 32768}, {"max_position_embeddings": 32768}),
        ({"model_type": "chatglm", "multi_query_group_num": 2}, {"num_key_value_heads": 2}),
        ({"model_type": "exaone", "num_layers": 5}, {"num_hidden_layers": 5}),
        (
            {"model_type": "dbrx", "attn_config": {"kv_n_heads": 8}, "ffn_config": {"moe_num_experts": 16}},
            {"num_key_value_heads": 8, "num_local_experts": 16, "intermediate_size": 3584},
        ),
        ({"model_type": "llama"}, {"num_key_value_heads": None, "intermediate_size": 11008}),
        ({"model_type": "never_seen", "hidden_size": 8}, {"intermediate_size": None}),
    ],
)
def test_fields_are_found_under_any_spelling_or_follow_from_others(
    config: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = Fields(Path("config.json"), config)
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    "path",
    [("text_config",), ("llm_config",), ("language_config",), ("thinker_config", "text_config")],
)
def test_the_language_models_part_is_found_and_what_lies_about_it_has_no_say(path: tuple[str, ...]) -> None:
    config: dict[str, Any] = {"model_type": "llama", "hidden_size": 8}
    for name in reversed(path):
        config = {"model_type": "never_seen", "hidden_size": 99, "num_hidden_layers": 77, name: config}
    text = Fields(Path("config.json"), config).text()
    assert (text.model_type, text.get("hidden_size"), text.get("num_hidden_layers")) == ("llama", 8, 32)


@pytest.mark.parametrize(
    ("model_type", "kind"), [("qwen2_5_vl", "qwen2_5_vl_text"), ("gemma3", "gemma3_text"), ("llama", "llama")]
)
def test_a_flat_file_of_a_nested_class_holds_its_language_model(model_type: str, kind: str) -> None:
    text = fields(model_type, hidden_size=8)
    assert (text.model_type, text.get("hidden_size")) == (kind, 8)


@pytest.mark.parametrize(("version", "kind"), [(2.6, "qwen2"), (4.5, "qwen3"), (None, "llama")])
def test_minicpm_v_tells_its_language_model_by_version(version: float | None, kind: str) -> None:
    assert fields("minicpmv", version=version).model_type == kind


@pytest.mark.parametrize(
    ("name", "model_type"),
    [("hidden_size", "llama"), ("tie_word_embeddings", "llama"), ("attention_bias", "qwen3"), ("n_embd", "gpt2")],
)
def test_null_is_refused_where_the_class_takes_none(name: str, model_type: str) -> None:
    with pytest.raises(ConfigError, match=rf"config.json: {name} is null, expected a value, or no such field"):
        fields(model_type, **{name: None})


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("num_key_value_heads", "llama"),
        ("head_dim", "llama"),
        ("sliding_window", "mistral"),
        ("hidden_size", "chatglm"),
    ],
)
def test_null_is_nothing_where_the_class_takes_it(name: str, model_type: str) -> None:
    assert fields(model_type, **{name: None}).get(name) is None


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("MPTForCausalLM", "MPTForCausalLM was supported in vLLM until v0.28.0, and is not supported anymore"),
        ("QWenLMHeadModel", "QWenLMHeadModel was supported in vLLM until v0.23.0"),
        ("BartForConditionalGeneration", "BartForConditionalGeneration is not in vLLM itself; it needs https://"),
        ("CodeGenForCausalLM", r"model architectures \['CodeGenForCausalLM'\] are not supported by vLLM 0.32"),
        ("LlamaForSequenceClassification", "vLLM serves LlamaForSequenceClassification for vectors or scores"),
        ("Qwen2ForRewardModel", "vLLM serves Qwen2ForRewardModel for vectors or scores"),
        ("BertModel", "vLLM serves BertModel for vectors or scores"),
        ("LlamaModel", "vLLM serves LlamaModel for vectors or scores"),
        ("Eagle3LlamaForCausalLM", "Eagle3LlamaForCausalLM drafts tokens for another model"),
        ("DeepSeekMTPModel", "DeepSeekMTPModel drafts tokens for another model"),
    ],
)
def test_a_class_with_which_vllm_writes_no_text_is_refused(tmp_path: Path, architecture: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        read(tmp_path, architectures=[architecture])
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ")


def test_encoder_decoder_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an encoder-decoder model; only decoder-only models can be simulated"):
        read(tmp_path, architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)


def test_names_of_classes_must_be_a_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="architectures is 'LlamaForCausalLM', expected a list"):
        read(tmp_path, architectures="LlamaForCausalLM")


@pytest.mark.parametrize(
    ("architectures", "notes"),
    [
        (["LlamaForCausalLM"], 0),
        (["ChatGLMModel"], 0),  # of vLLM's own, though its name ends as those of pooling models do
        (["NeverSeenForCausalLM", "LlamaForCausalLM"], 0),
        (["BambaForCausalLM"], 0),  # no longer vLLM's, but transformers' runs in it
        (["NeverSeenForCausalLM"], 1),
        ([], 1),
        (None, 1),
    ],
)
def test_a_class_that_is_not_known_is_a_note(tmp_path: Path, architectures: list[str] | None, notes: int) -> None:
    model = read(tmp_path, architectures=architectures)
    assert model.n_params > 0
    assert len(model.notes) == notes
    if architectures == ["NeverSeenForCausalLM"]:
        assert "vLLM 0.32 has no architecture 'NeverSeenForCausalLM' of its own" in model.notes[0]


JUNK = st.sampled_from([None, 0, 1, -1, 3, 2**40, 1.5, True, "", "x", [], [1], ["x"], [None], {}, {"a": 1}])


@given(st.sampled_from(sorted(CONFIGS.iterdir())), st.integers(0, 2**30), JUNK)
@settings(max_examples=300, deadline=None)
def test_a_spoilt_configuration_is_read_or_refused(folder: Path, which: int, junk: Any) -> None:
    """Whatever one field holds, in all kinds of configurations, any error names what is wrong."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    places = list(_places(config))
    *way, last = places[which % len(places)]
    inside = config
    for key in way:
        inside = inside[key]
    inside[last] = junk
    with TemporaryDirectory() as made:
        (Path(made) / "config.json").write_text(json.dumps(config))
        assert "\n" not in _refusal(made)


def _refusal(folder: str) -> str:
    """Return the error of reading a configuration and everything derived from it; empty if there is none."""
    try:
        model = find_model(folder)
        model.describe()
        kv_blocks(model, find_gpu("h200"), parallel=Parallel(2))
    except ConfigError as error:
        return str(error)
    return ""


def _places(config: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = config.items() if isinstance(config, dict) else enumerate(config[:3]) if isinstance(config, list) else ()
    for key, value in items:
        yield (*way, key)
        yield from _places(value, (*way, key))


@pytest.mark.parametrize("file", ["families", "stream", "feed_forward"])
def test_no_kind_has_two_rows(file: str) -> None:
    """The later one would hide the other."""
    text = files("continuum_sim.hardware.hf").joinpath(f"{file}.toml").read_text(encoding="utf-8")
    for rows in tomllib.loads(text).values():
        kinds = Counter(kind for row in rows for kind in row["types"])
        assert [kind for kind, times in kinds.items() if times > 1] == []
