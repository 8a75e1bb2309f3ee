"""The length of a request as vLLM derives it, and what it refuses of RoPE scaling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.length import model_lengths

SHAPES: dict[str, Any] = {"hidden_size": 512, "num_attention_heads": 4, "max_position_embeddings": 8192}
HALVES = {"short_factor": [1.0] * 64, "long_factor": [1.0] * 64}


def lengths(model_type: str = "llama", **config: Any) -> tuple[int, int]:
    return model_lengths(Fields(Path("config.json"), {"model_type": model_type, **SHAPES, **config}))


@pytest.mark.parametrize(
    ("scaling", "length"),
    [
        ({"type": "linear", "factor": 4.0}, 32768),
        ({"rope_type": "linear", "factor": 4}, 32768),
        ({"type": "dynamic", "factor": 2.0}, 16384),
        ({"type": "dynamic", "factor": 1.0, "alpha": 1000.0}, 8192),
        ({"type": "ntk", "factor": 4.0}, 32768),
        ({"type": "linear", "factor": 0.5}, 4096),
        ({"rope_type": "default", "factor": 3.0}, 24576),
        ({"factor": 4.0}, 32768),
        ({"type": "yarn", "factor": 4.0}, 8192),
        ({"type": "deepseek_yarn", "factor": 4.0}, 8192),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, 8192),
        ({"type": "longrope", "factor": 4.0, **HALVES}, 8192),
        ({"type": "su", **HALVES}, 8192),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, 8192),
        ({"rope_type": "default", "type": "mrope"}, 8192),
        ({"rope_type": "proportional"}, 8192),
        ({}, 8192),
        (None, 8192),
    ],
)
def test_factors_multiply_the_length_unless_it_holds_them(scaling: dict[str, Any] | None, length: int) -> None:
    assert lengths(rope_scaling=scaling) == (length, length)
    assert lengths(rope_parameters=scaling) == (length, length)


def test_the_older_spelling_wins() -> None:
    both = {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"type": "linear", "factor": 4.0}}
    assert lengths(**both) == (16384, 16384)
    assert lengths(**{**both, "rope_scaling": {}}) == (32768, 32768)


def test_one_setting_for_each_type_of_layer() -> None:
    nested = {"full_attention": {"rope_type": "linear", "factor": 8.0}, "sliding_attention": {"rope_type": "default"}}
    assert lengths("olmo3", rope_parameters=nested) == (65536, 65536)
    assert lengths("olmo3", rope_parameters={**nested, "sliding_attention": None}) == (65536, 65536)


def test_gemma_3_holds_its_factor_already() -> None:
    linear = {"rope_type": "linear", "factor": 8.0}
    assert lengths("gemma3_text", rope_scaling=linear) == (8192, 8192)
    assert lengths("gemma3_text", rope_parameters={"full_attention": linear}) == (8192, 8192)
    assert lengths("gemma2", rope_scaling=linear) == (65536, 65536)


@pytest.mark.parametrize(
    ("model_type", "outer", "inner", "length"),
    [
        ("llama", None, None, 8192),
        ("llama", None, 1024, 8192),
        ("llama", 2048, 1024, 2048),
        ("phi3", None, 1024, 4096),  # its class's default
        ("phi3", 2048, 1024, 2048),
        ("phimoe", 2048, 1024, 1024),
    ],
)
def test_longrope_is_served_at_its_original_length(
    model_type: str, outer: int | None, inner: int | None, length: int
) -> None:
    name = "original_max_position_embeddings"
    scaling = {"type": "longrope", **HALVES, **({} if inner is None else {name: inner})}
    assert lengths(model_type, rope_scaling=scaling, **({} if outer is None else {name: outer})) == (length, 8192)


@pytest.mark.parametrize(
    ("config", "length", "longest"),
    [
        ({"model_max_length": 131072}, 131072, 131072),
        ({"model_max_length": 4096}, 4096, 4096),
        ({"model_max_length": 4096, "seq_length": 2048}, 4096, 4096),
        ({"seq_length": 2048, "max_seq_len": 1024}, 1024, 1024),
        ({"n_positions": 512}, 512, 512),
        ({"max_sequence_length": 100, "max_target_positions": 99, "max_seq_length": 98, "seq_len": 97}, 97, 97),
        ({"model_max_length": 9000, "rope_scaling": {"type": "linear", "factor": 2.0}}, 18000, 18000),
    ],
)
def test_the_shortest_of_all_lengths_counts_but_command_rs_wins(
    config: dict[str, Any], length: int, longest: int
) -> None:
    assert lengths(**config) == (length, longest)


def test_without_any_length_vllm_takes_2048_unless_told_otherwise() -> None:
    for model_type in ("never_seen", "mamba"):
        fields = Fields(Path("config.json"), {"model_type": model_type, "hidden_size": 512})
        length, longest = model_lengths(fields)
        assert length == 2048
        assert longest > 10**9


def test_the_tokenizers_length_has_no_part_in_it(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1024}))
    fields = Fields(tmp_path / "config.json", {"model_type": "llama", **SHAPES})
    assert model_lengths(fields) == (8192, 8192)


@pytest.mark.parametrize(
    ("scaling", "reason"),
    [
        ({"type": "linear"}, "RoPE scaling of type 'linear' has no 'factor'"),
        ({"type": "dynamic"}, "RoPE scaling of type 'dynamic' has no 'factor'"),
        ({"type": "yarn"}, "RoPE scaling of type 'yarn' has no 'factor'"),
        ({"rope_type": "llama3", "factor": 8.0}, "RoPE scaling of type 'llama3' has no 'low_freq_factor'"),
        ({"type": "longrope", "factor": 8.0}, "RoPE scaling of type 'longrope' has no 'short_factor'"),
        ({"type": "linear", "factor": None}, "factor of RoPE scaling is None, expected a positive number"),
        ({"type": "linear", "factor": "4"}, "factor of RoPE scaling is '4', expected a positive number"),
        ({"type": "linear", "factor": 0}, "factor of RoPE scaling is 0, expected a positive number"),
        ({"type": "linear", "factor": 1e-6}, "its length times the factor of RoPE scaling is 0.008192 tokens"),
        ({"type": "linear", "rope_type": "yarn", "factor": 2}, "has rope_type 'yarn' and type 'linear': give one"),
        ({"type": "mrope"}, "RoPE scaling of type 'mrope' has no 'mrope_section'"),
        ({"type": "never_seen", "factor": 2}, "unknown RoPE scaling type 'never_seen'"),
        ({"type": ["linear"], "factor": 2}, "unknown RoPE scaling type"),
        ("linear", "rope_scaling is 'linear', expected an object"),
    ],
)
def test_what_vllm_refuses_of_rope_scaling_is_refused(scaling: Any, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lengths(rope_scaling=scaling)
    assert str(caught.value).startswith("config.json: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("scaling", "reason"),
    [
        ({"type": "su", **HALVES}, "type 'su' has no 'original_max_position_embeddings', which it needs"),
        ({"type": "linear", "factor": 2.0}, "is of type 'linear', which Phi-3 does not take"),
        ({"type": "longrope", **HALVES, "long_factor": [1.0]}, "long_factor of RoPE scaling is not a list of 64"),
    ],
)
def test_what_phi_3s_class_refuses_is_refused(scaling: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match="config.json: ") as caught:
        lengths("phi3", rope_scaling=scaling)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "config", [{"max_position_embeddings": 0}, {"model_max_length": 0}, {"seq_length": -1}, {"n_positions": 2.5}]
)
def test_a_length_that_cannot_be_is_refused(config: dict[str, Any]) -> None:
    (name,) = config
    with pytest.raises(ConfigError, match=rf"config.json: {name} is .*, expected a positive whole number"):
        lengths(**config)


@given(st.integers(1, 2**20), st.floats(1, 64))
def test_a_linear_factor_is_cut_to_whole_tokens(tokens: int, factor: float) -> None:
    scaled = lengths(max_position_embeddings=tokens, rope_scaling={"type": "linear", "factor": factor})
    assert scaled == (int(tokens * factor), int(tokens * factor))
