"""Dense MLPs as vLLM builds them: how wide, with a gate or not, with biases or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_model
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.layout import mlp_layers
from continuum_sim.hardware.hf.mlp import mlp_weights
from continuum_sim.hardware.hf.residual import residual_weights
from continuum_sim.hardware.hf.widths import widest_mlp

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}


def _fields(model_type: str, **more: Any) -> Fields:
    return Fields(Path("config.json"), {"model_type": model_type, **SMALL, **more})


def _widths(fields: Fields) -> list[int]:
    """The width of each layer's MLP, 0 without one."""
    ups = [weight for weight in mlp_weights(fields, range(4)) if weight.name.endswith(".up_proj")]
    return [sum(weight.rows for weight in ups if layer in weight.layers) for layer in range(4)]


NAS = [
    {"ffn": {"ffn_mult": 3.0}},
    {"ffn": {"no_op": True}},
    {"ffn": {"intermediate_size": 96}},
    {"ffn": {"ffn_mult": 6}},
]


@pytest.mark.parametrize(
    ("model_type", "said", "widths"),
    [
        ("llama", {"intermediate_size": 100}, [100] * 4),
        ("gpt2", {}, [256] * 4),
        ("gpt2", {"n_inner": 80}, [80] * 4),
        ("gptj", {"n_inner": None}, [256] * 4),
        ("bloom", {"intermediate_size": 100}, [256] * 4),
        ("falcon", {"ffn_hidden_size": 96}, [96] * 4),
        ("opt", {"ffn_dim": 72, "intermediate_size": 100}, [72] * 4),
        ("chatglm", {"ffn_hidden_size": 88}, [88] * 4),
        ("gemma3n_text", {"intermediate_size": [32, 32, 48, 64, 64]}, [32, 32, 48, 64]),
        ("gemma3n_text", {}, [16384] * 4),
        # Two thirds of 96 are 64, times 1.5 are 96, up to a multiple of 80 are 160.
        ("lfm2", {"block_ff_dim": 96, "block_ffn_dim_multiplier": 1.5, "block_multiple_of": 80}, [160] * 4),
        ("lfm2", {"block_ff_dim": 96, "block_auto_adjust_ff_dim": False}, [96] * 4),
        ("lfm2_moe", {"intermediate_size": 96}, [96] * 4),
        # Of the residual stream's 64, two thirds of three times are 128, up to 256; of six times 256.
        ("nemotron-nas", {"block_configs": NAS}, [256, 0, 96, 256]),
        (
            "gemma4_text",
            {"intermediate_size": 32, "use_double_wide_mlp": True, "num_kv_shared_layers": 1},
            [32, 32, 32, 64],
        ),
        ("gemma4_text", {"intermediate_size": 32, "use_double_wide_mlp": True}, [32] * 4),
        ("llama4_text", {"intermediate_size": 32, "intermediate_size_mlp": 64}, [64] * 4),
        ("granitemoehybrid", {"intermediate_size": 32, "shared_intermediate_size": 48}, [48] * 4),
        ("cohere2_moe", {"intermediate_size": 32, "prefix_dense_intermediate_size": 96}, [96] * 4),
    ],
)
def test_widths(model_type: str, said: dict[str, Any], widths: list[int]) -> None:
    assert _widths(_fields(model_type, **said)) == widths


def test_layers_that_only_mix_tokens_have_no_mlp() -> None:
    """Of Nemotron-H, whose list of widths has one entry for each MLP."""
    fields = _fields("nemotron_h", hybrid_override_pattern="M-*-", intermediate_size=[32, 48])
    layers = mlp_layers(fields, 4)
    assert layers == (1, 3)
    ups = {weight.layers: weight.rows for weight in mlp_weights(fields, layers) if "up_proj" in weight.name}
    assert ups == {(1,): 32, (3,): 48}
    one = _fields("nemotron_h", hybrid_override_pattern="M-*-", intermediate_size=[32])
    assert {weight.layers for weight in mlp_weights(one, layers) if weight.rows == 32} == {(1, 3)}
    assert not any("gate" in weight.name for weight in mlp_weights(fields, layers))


@pytest.mark.parametrize(
    ("model_type", "said", "matrices", "bias"),
    [
        ("llama", {}, 3, False),
        ("llama", {"mlp_bias": True}, 3, True),
        ("gpt2", {}, 2, True),
        ("phi", {}, 2, True),
        ("gpt_neox", {}, 2, True),
        ("opt", {}, 2, True),
        ("opt", {"enable_bias": False}, 2, False),
        ("starcoder2", {}, 2, True),
        ("starcoder2", {"use_bias": False}, 2, False),
        ("falcon", {}, 2, False),
        ("falcon", {"bias": True}, 2, True),
        ("nemotron", {"mlp_bias": True}, 2, True),
        ("ernie4_5_moe", {"use_bias": True}, 3, True),
        ("deepseek_v2", {"mlp_bias": True}, 3, False),
    ],
)
def test_matrices_and_biases(model_type: str, said: dict[str, Any], matrices: int, bias: bool) -> None:
    found = mlp_weights(
        _fields(model_type, intermediate_size=100, ffn_dim=100, n_inner=100, ffn_hidden_size=100, **said), [2]
    )
    assert sum(weight.n_params for weight in found) == matrices * 6400 + bias * ((matrices - 1) * 100 + 64)
    # Up is divided by its rows and down by its columns, and its bias is not, which is added to the sum.
    assert sum(weight.params_per_rank(4) for weight in found) == matrices * 1600 + bias * ((matrices - 1) * 25 + 64)
    assert {weight.split for weight in found if weight.name.endswith("down_proj")} == {"columns"}


@pytest.mark.parametrize(
    ("model_type", "said", "told"),
    [
        ("of-no-class", {}, "'intermediate_size' is missing"),
        ("llama", {"intermediate_size": 0}, "intermediate_size is 0"),
        ("llama", {"intermediate_size": [32, 48]}, "length of intermediate_size is 2"),
        ("gemma3n_text", {"intermediate_size": [32, 48, "64", 64]}, "intermediate_size is '64'"),
        ("nemotron-nas", {"block_configs": NAS[:2]}, "length of block_configs is 2"),
        ("nemotron-nas", {"block_configs": [{"ffn": {}}] * 4}, "intermediate_size of block_configs"),
        ("nemotron-nas", {"block_configs": [{"ffn": {"ffn_mult": "3"}}] * 4}, "ffn_mult of block_configs is '3'"),
        ("nemotron-nas", {"block_configs": [{}] * 4}, "expected an object with 'ffn'"),
        ("lfm2", {"block_ff_dim": 96, "block_ffn_dim_multiplier": "1"}, "block_ffn_dim_multiplier is '1'"),
        ("llama", {"intermediate_size": 100, "mlp_bias": 1}, "mlp_bias is 1"),
    ],
)
def test_what_cannot_be_names_the_field(model_type: str, said: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=r"^config\.json: .*") as error:
        mlp_weights(_fields(model_type, **said), range(4))
    assert told in str(error.value)


def test_an_mlp_that_no_plan_divides() -> None:
    """Of StarCoder, which vLLM serves with transformers' class."""
    found = mlp_weights(_fields("gpt_bigcode"), range(4))
    assert {weight.params_per_rank(2) for weight in found} == {weight.n_params for weight in found}


def test_widths_of_layers_reach_the_model(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = {"model_type": "nemotron-nas", **SMALL, "intermediate_size": None, "block_configs": NAS}
    config["block_configs"] = [{"attention": {"n_heads_in_group": 2}, **block} for block in NAS]
    path.write_text(json.dumps(config), encoding="utf-8")
    model = find_model(str(path))
    assert (model.unread, model.intermediate) == (None, 1)
    mlps = [weight for weight in model.weights if ".mlp." in weight.name]
    assert sum(weight.n_params for weight in mlps) == 3 * 64 * (256 + 96 + 256)


@pytest.mark.parametrize(
    ("model_type", "said", "width"),
    [
        ("gemma3n_text", {"intermediate_size": [32, 48, 48, 64]}, 64),
        ("llama", {"intermediate_size": 100}, 100),
        ("bloom", {}, 256),
        ("of-no-class", {}, 1),
    ],
)
def test_the_width_a_model_is_said_to_have(model_type: str, said: dict[str, Any], width: int) -> None:
    assert widest_mlp(_fields(model_type, **said)) == width


def test_what_else_layers_of_gemma_3n_do() -> None:
    """Of 64 numbers in 3 streams, with residuals of rank 8 and 16 numbers of each layer's own."""
    own = {"altup_num_inputs": 3, "laurel_rank": 8, "hidden_size_per_layer_input": 16}
    found = residual_weights(_fields("gemma3n_text", **own), 4)
    streams = 3 * 3 + 9 * 3 + 3 * 64 + 64 + 64
    low_rank = 2 * 8 * 64 + 64
    own_inputs = 2 * 16 * 64 + 64
    assert sum(weight.n_params for weight in found) == 4 * (streams + low_rank + own_inputs) + 2 * 2 * 64 * 64
    assert residual_weights(_fields("llama"), 4) == []
