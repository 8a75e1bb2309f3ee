"""Mixtures of experts as vLLM builds them: which layers, how many experts, how wide, and what routes to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_model
from continuum_sim.hardware.hf.experts import dense_layers, expert_layers, expert_weights
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.unread import Unread
from continuum_sim.hardware.weights import Weight

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 100,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
"""A plain decoder of 6 layers, to which each test adds its kind's experts."""

EVERY = range(6)


def _fields(model_type: str, **more: Any) -> Fields:
    return Fields(Path("config.json"), {"model_type": model_type, **SMALL, **more})


def _file(folder: Path, model_type: str, **more: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": model_type, **SMALL, **more}), encoding="utf-8")
    return path


def _by_name(weights: list[Weight]) -> dict[str, Weight]:
    found = {weight.name.removeprefix("model.layers.{}."): weight for weight in weights}
    assert len(found) == len(weights)
    return found


@pytest.mark.parametrize(
    ("model_type", "said", "routed"),
    [
        ("mixtral", {"num_local_experts": 8}, [0, 1, 2, 3, 4, 5]),
        ("qwen3_moe", {"num_experts": 8, "decoder_sparse_step": 2}, [1, 3, 5]),
        ("qwen3_moe", {"num_experts": 8, "decoder_sparse_step": 2, "mlp_only_layers": [1]}, [3, 5]),
        ("qwen2_moe", {"num_experts": 8, "mlp_only_layers": [0, 5]}, [1, 2, 3, 4]),
        ("deepseek_v3", {"n_routed_experts": 8}, [3, 4, 5]),  # three dense layers by the class's default
        ("deepseek_v2", {"n_routed_experts": 8, "first_k_dense_replace": 1, "moe_layer_freq": 2}, [2, 4]),
        ("glm4_moe", {"n_routed_experts": 8, "first_k_dense_replace": 2, "moe_layer_freq": 2}, [2, 3, 4, 5]),
        ("lfm2_moe", {"num_experts": 8, "num_dense_layers": 4}, [4, 5]),
        ("llama4_text", {"num_local_experts": 8, "interleave_moe_layer_step": 3}, [2, 5]),
        ("llama4_text", {"num_local_experts": 8, "interleave_moe_layer_step": 0}, []),
        ("jamba", {"num_experts": 8, "expert_layer_period": 3, "expert_layer_offset": 1}, [1, 4]),
        ("ernie4_5_moe", {"moe_num_experts": 8, "moe_layer_start_index": 2, "moe_layer_end_index": 4}, [2, 3, 4]),
        ("ernie4_5_moe", {"moe_num_experts": 8, "moe_layer_start_index": 2}, [2, 3, 4, 5]),
        ("ernie4_5_moe", {"moe_num_experts": 8, "moe_layer_end_index": -1, "moe_layer_interval": 2}, [1, 3, 5]),
        ("ernie4_5_moe", {"moe_num_experts": 8, "use_moe": False}, []),
        ("mimo_v2_flash", {"n_routed_experts": 8, "moe_layer_freq": [0, 1, 1, 0, 1, 1]}, [1, 2, 4, 5]),
        ("mimo_v2_flash", {"n_routed_experts": 8, "moe_layer_freq": 1}, []),
        ("exaone_moe", {"num_experts": 8, "mlp_layer_types": ["sparse", "dense"] * 3}, [0, 2, 4]),
        ("exaone_moe", {"num_experts": 8, "first_k_dense_replace": 2}, [2, 3, 4, 5]),
        ("laguna", {"num_experts": 8}, [1, 2, 3, 4, 5]),
        ("step3p5", {"moe_num_experts": 8, "moe_layers_enum": "3,4, 5"}, [3, 4, 5]),
        ("step3_text", {"moe_num_experts": 8}, [1, 2, 3, 4, 5]),
        ("nemotron_h", {"n_routed_experts": 8, "hybrid_override_pattern": "ME*EM-"}, [1, 3]),
        (
            "nemotron_h",
            {"n_routed_experts": 8, "layers_block_type": ["moe", "mamba", "mlp", "moe", "moe", "mlp"]},
            [0, 3, 4],
        ),
    ],
)
def test_layers_with_experts(model_type: str, said: dict[str, Any], routed: list[int]) -> None:
    fields = _fields(model_type, **said)
    assert list(expert_layers(fields, EVERY)) == routed
    assert list(dense_layers(fields, EVERY)) == [layer for layer in EVERY if layer not in routed]


@given(
    step=st.integers(1, 9),
    dense=st.lists(st.integers(0, 11), unique=True),
    n_layers=st.integers(1, 12),
)
def test_a_layer_has_experts_or_an_mlp(step: int, dense: list[int], n_layers: int) -> None:
    fields = _fields("qwen2_moe", num_experts=4, decoder_sparse_step=step, mlp_only_layers=dense)
    routed, plain = (kind(fields, range(n_layers)) for kind in (expert_layers, dense_layers))
    assert sorted([*routed, *plain]) == list(range(n_layers))
    assert not set(routed) & set(dense)


def test_a_mixture_beside_an_mlp() -> None:
    """Gemma 4 has both in every layer, and no mixture where the file says null."""
    fields = _fields("gemma4_text", num_experts=16, moe_intermediate_size=24)
    assert list(expert_layers(fields, EVERY)) == list(dense_layers(fields, EVERY)) == list(EVERY)
    assert expert_layers(_fields("gemma4_text", num_experts=None), EVERY) == ()
    found = _by_name(expert_weights(fields, [0]))
    # Beside the router's scale three norms over the stream, and a number for each expert.
    assert sum(weight.n_params for weight in found.values() if weight.use == "vector") == 4 * 64 + 16
    assert (found["router.proj"].rows, found["experts.down_proj"].rows, found["experts.down_proj"].count) == (
        16,
        64,
        16,
    )


def test_experts_of_mixtral(tmp_path: Path) -> None:
    model = find_model(str(_file(tmp_path, "mixtral", num_local_experts=8)))
    found = _by_name([weight for weight in model.weights if "block_sparse_moe" in weight.name])
    for name in ("gate_proj", "up_proj"):
        weight = found[f"block_sparse_moe.experts.{name}"]
        assert (weight.rows, weight.columns, weight.count, weight.use) == (100, 64, 8, "expert")
    down = found["block_sparse_moe.experts.down_proj"]
    assert (down.rows, down.columns, down.count, down.split) == (64, 100, 8, "columns")
    assert (found["block_sparse_moe.gate"].rows, found["block_sparse_moe.gate"].use) == (8, "linear")
    assert model.n_experts == 8
    mixture = 6 * (8 * 3 * 64 * 100 + 8 * 64)
    assert sum(weight.n_params for weight in found.values()) == mixture
    # Experts are divided, routers are not.
    assert sum(weight.params_per_rank(4) for weight in found.values()) == (mixture - 6 * 8 * 64) // 4 + 6 * 8 * 64
    assert not any(".mlp." in weight.name for weight in model.weights)


@pytest.mark.parametrize(
    ("model_type", "said", "module", "width", "gate"),
    [
        ("qwen2_moe", {"num_experts": 8, "shared_expert_intermediate_size": 48}, "mlp.shared_expert", 48, True),
        ("qwen3_moe", {"num_experts": 8, "shared_expert_intermediate_size": 0}, "mlp.shared_expert", 0, False),
        ("qwen3_moe", {"num_experts": 8}, "mlp.shared_expert", 0, False),
        ("deepseek_v3", {"n_shared_experts": 2}, "mlp.shared_experts", 2 * 32, False),
        ("glm4_moe", {}, "mlp.shared_experts", 32, False),
        ("ernie4_5_moe", {"moe_num_shared_experts": 3}, "mlp.shared_experts", 3 * 32, False),
        ("ernie4_5_moe", {"moe_num_shared_experts": 0}, "mlp.shared_experts", 0, False),
        ("llama4_text", {}, "feed_forward.shared_expert", 100, False),
        ("granitemoehybrid", {"shared_intermediate_size": 80}, "shared_mlp", 80, False),
        ("granitemoeshared", {}, "shared_mlp", 0, False),
        ("hunyuan_v1_moe", {"num_experts": 8, "num_shared_expert": [1] * 6}, "mlp.shared_mlp", 100, False),
        ("kimi_linear", {"num_experts": 8, "num_shared_experts": 1}, "block_sparse_moe.shared_experts", 32, False),
        ("bailing_moe", {"num_experts": 8, "num_shared_experts": 2}, "mlp.shared_experts", 64, False),
        (
            "bailing_moe",
            {"num_experts": 8, "num_shared_experts": 2, "moe_shared_expert_intermediate_size": 40},
            "mlp.shared_experts",
            80,
            False,
        ),
        (
            "param2moe",
            {"num_experts": 8, "num_shared_experts": 2, "moe_shared_expert_intermediate_size": 40},
            "mlp.shared_experts",
            40,
            False,
        ),
        ("step3p5", {"share_expert_dim": 56}, "share_expert", 56, False),
    ],
)
def test_experts_that_every_token_goes_to(
    model_type: str, said: dict[str, Any], module: str, width: int, gate: bool
) -> None:
    found = _by_name(expert_weights(_fields(model_type, moe_intermediate_size=32, **said), [4, 5]))
    widths = {name: found[f"{module}.{name}"] for name in ("gate_proj", "up_proj") if f"{module}.{name}" in found}
    assert {weight.rows for weight in widths.values()} == ({width} if width else set())
    assert all(weight.use == "linear" and weight.layers == (4, 5) for weight in widths.values())
    assert (f"{module}_gate" in found) == gate


@pytest.mark.parametrize(
    ("model_type", "said", "router_bytes", "correction"),
    [
        ("mixtral", {}, 2, False),
        ("deepseek_v3", {"topk_method": "noaux_tc"}, 2, True),
        ("deepseek_v3", {"topk_method": "greedy"}, 2, False),
        ("deepseek_v3", {}, 2, False),
        ("glm4_moe", {}, 4, True),
        ("minimax_m2", {"use_routing_bias": True}, 4, True),
        ("minimax_m2", {}, 4, False),
        ("mimo_v2_flash", {}, 4, True),
        ("mimo_v2_flash", {"moe_router_dtype": "bfloat16"}, 2, True),
        ("bailing_moe", {"num_experts": 8, "router_dtype": "fp32"}, 4, False),
        ("bailing_moe", {"num_experts": 8, "moe_router_enable_expert_bias": True}, 2, True),
        ("lfm2_moe", {"use_expert_bias": False}, 2, False),
        ("nemotron_h", {"moe_shared_expert_intermediate_size": 8}, 4, True),
    ],
)
def test_routers_and_corrections_of_their_scores(
    model_type: str, said: dict[str, Any], router_bytes: int, correction: bool
) -> None:
    fields = _fields(model_type, **{"moe_intermediate_size": 32, "num_experts": 8, "n_routed_experts": 8} | said)
    found = {weight.name: weight for weight in expert_weights(fields, [3])}
    routers = [weight for name, weight in found.items() if name.endswith(".gate")]
    experts = routers[0].rows
    assert [weight.bytes_per_rank(8) for weight in routers] == [experts * 64 * router_bytes]
    biases = [weight for name, weight in found.items() if name.endswith("correction_bias")]
    assert [weight.bytes_per_rank(8) for weight in biases] == ([experts * 4] if correction else [])


def test_widths_of_experts_that_differ_by_layer() -> None:
    fields = _fields("hunyuan_v1_moe", num_experts=4, moe_intermediate_size=[32, 32, 48, 48, 32, 32])
    ups = [weight for weight in expert_weights(fields, EVERY) if weight.name.endswith("experts.up_proj")]
    assert {weight.rows: weight.layers for weight in ups} == {32: (0, 1, 4, 5), 48: (2, 3)}


def test_experts_of_dbrx_lie_in_a_part() -> None:
    fields = _fields("dbrx", ffn_config={"ffn_hidden_size": 96, "moe_num_experts": 16})
    assert expert_layers(fields, EVERY) == tuple(EVERY)
    up = _by_name(expert_weights(fields, EVERY))["ffn.experts.up_proj"]
    assert (up.rows, up.count) == (96, 16)
    silent = _by_name(expert_weights(_fields("dbrx", ffn_config={}), EVERY))["ffn.experts.up_proj"]
    assert (silent.rows, silent.count) == (3584, 4)


def test_experts_of_gpt_oss_have_biases() -> None:
    found = _by_name(expert_weights(_fields("gpt_oss", num_local_experts=4), EVERY))
    biases = {name: weight.rows for name, weight in found.items() if name.endswith(".bias")}
    experts = "mlp.experts."
    assert biases == {
        "mlp.router.bias": 4,
        f"{experts}gate_proj.bias": 100,
        f"{experts}up_proj.bias": 100,
        f"{experts}down_proj.bias": 64,
    }
    assert found[f"{experts}down_proj.bias"].params_per_rank(4) == 6 * 4 * 64  # added after the sum over ranks


def test_experts_that_work_in_a_narrower_stream() -> None:
    """Nemotron 3: no gate, two projections that every rank holds, and experts between them."""
    said = {"n_routed_experts": 8, "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 48}
    found = _by_name(expert_weights(_fields("nemotron_h", **said, moe_latent_size=16, n_shared_experts=1), [1]))
    shapes = {name: (weight.rows, weight.columns) for name, weight in found.items() if "norm" not in name}
    assert shapes == {
        "mixer.gate": (8, 64),
        "mixer.gate.e_score_correction_bias": (8, 1),
        "mixer.experts.up_proj": (32, 16),
        "mixer.experts.down_proj": (16, 32),
        "mixer.fc1_latent_proj": (16, 64),
        "mixer.fc2_latent_proj": (64, 16),
        "mixer.shared_experts.up_proj": (48, 64),
        "mixer.shared_experts.down_proj": (64, 48),
    }


def test_a_norm_behind_the_narrower_stream() -> None:
    """Kimi K3 has one where a flag says so."""
    said = {"num_experts": 8, "moe_intermediate_size": 32, "routed_expert_hidden_size": 16}
    for flag in (True, False):
        found = expert_weights(_fields("kimi_linear", **said, latent_moe_use_norm=flag), [1])
        assert [weight.rows for weight in found if weight.name.endswith("norm")] == [16] * flag
        assert {weight.columns for weight in found if weight.name.endswith("experts.up_proj")} == {16}


def test_experts_that_are_looked_up_by_token() -> None:
    """DeepSeek V4's first layers have a table of experts in place of corrections."""
    said = {"n_routed_experts": 8, "moe_intermediate_size": 32, "num_hash_layers": 2, "num_experts_per_tok": 3}
    fields = _fields("deepseek_v4", **said, topk_method="noaux_tc")
    assert expert_layers(fields, EVERY) == tuple(EVERY)
    found = _by_name(expert_weights(fields, EVERY))
    table, corrections = found["ffn.gate.tid2eid"], found["ffn.gate.e_score_correction_bias"]
    assert (table.layers, table.bytes_per_rank(8)) == ((0, 1), 2 * 512 * 3 * 4)
    assert (corrections.layers, corrections.bytes_per_rank(8)) == ((2, 3, 4, 5), 4 * 8 * 4)


def test_a_narrow_share_of_an_expert_is_filled_up() -> None:
    """vLLM gives each rank of Kimi's models at least 256 of an expert's width."""
    said = {"num_experts": 8, "moe_intermediate_size": 1024, "num_shared_experts": 0}
    up = _by_name(expert_weights(_fields("kimi_linear", **said), [1]))["block_sparse_moe.experts.up_proj"]
    assert [up.params_per_rank(ranks) for ranks in (1, 2, 4, 8)] == [8 * 64 * width for width in (1024, 512, 256, 256)]


ERNIE_VL = {
    "moe_num_experts": [8, 8],
    "moe_intermediate_size": [32, 16],
    "moe_layer_start_index": [1, 2],
    "moe_layer_end_index": [5, 4],
    "moe_num_shared_experts": 2,
}


def test_experts_of_text_and_of_images() -> None:
    fields = _fields("ernie4_5_moe_vl", **ERNIE_VL)
    routed = expert_layers(fields, EVERY)
    assert routed == (1, 2, 3, 4, 5)
    found = {weight.name.removeprefix("model.layers.{}.mlp."): weight for weight in expert_weights(fields, routed)}
    shapes = {name: (weight.rows, weight.layers) for name, weight in found.items() if "up_proj" in name}
    assert shapes == {
        "shared_experts.up_proj": (64, (1, 2, 3, 4, 5)),
        "text_experts.up_proj": (32, (1, 2, 3, 4, 5)),
        "vision_experts.up_proj": (16, (2, 3, 4)),
        "up_proj": (100, (1, 5)),  # where there are experts of text only
    }
    assert found["text_experts_gate"].bytes_per_rank(1) == 5 * 8 * 64 * 4
    assert found["e_score_correction_bias"].n_params == 5 * 2 * 8


def test_experts_given_as_a_list_are_a_mixture(tmp_path: Path) -> None:
    """ERNIE 4.5 VL, 28 billion parameters of which 3 are at work, was once a dense model of 3 billion."""
    path = _file(tmp_path, "ernie4_5_moe_vl", **ERNIE_VL)
    model = find_model(str(path))
    assert model.n_experts == 8
    assert model.n_params > 8 * 3 * 64 * (5 * 32 + 3 * 16)


@pytest.mark.parametrize(
    ("model_type", "said", "told"),
    [
        ("hunyuan_v1_moe", {"num_experts": [8] * 6}, "num_experts"),
        ("ernie4_5_moe", {"moe_num_experts": [8, 8]}, "expected a whole number"),
        ("ernie4_5_moe_vl", ERNIE_VL | {"moe_intermediate_size": 32}, "moe_intermediate_size"),
        ("ernie4_5_moe_vl", ERNIE_VL | {"moe_layer_start_index": ["1", "2"]}, "moe_layer_start_index"),
        ("mimo_v2_flash", {"n_routed_experts": 8, "moe_layer_freq": [0, 1]}, "length of moe_layer_freq is 2"),
        ("step3p5", {"moe_num_experts": 8, "moe_layers_enum": "1..5"}, "moe_layers_enum"),
        ("exaone_moe", {"num_experts": 8, "mlp_layer_types": "sparse"}, "mlp_layer_types"),
        ("qwen3_moe", {"num_experts": 0}, "layers with experts is 0"),
        ("qwen3_moe", {"mlp_only_layers": list(EVERY)}, "without which vLLM does not serve 'qwen3_moe'"),
        ("glm4_moe", {"first_k_dense_replace": 6}, "without which vLLM does not serve 'glm4_moe'"),
        ("gemma4_text", {"num_experts": 8, "expert_intermediate_size": 16}, "'moe_intermediate_size' is missing"),
        ("bailing_moe", {"num_experts": 8, "moe_intermediate_size": None}, "'moe_intermediate_size' is missing"),
        ("qwen3_moe", {"num_experts": 8, "decoder_sparse_step": 0}, "decoder_sparse_step"),
        ("qwen2_moe", {"shared_expert_intermediate_size": "wide"}, "shared_expert_intermediate_size"),
    ],
)
def test_what_cannot_be_names_the_field(model_type: str, said: dict[str, Any], told: str) -> None:
    fields = _fields(model_type, **said)
    with pytest.raises(ConfigError, match=r"^config\.json: .*") as error:
        expert_weights(fields, expert_layers(fields, EVERY))
    assert told in str(error.value)


def test_an_unknown_mixture_is_not_guessed(tmp_path: Path) -> None:
    path = _file(tmp_path, "llama", num_experts=8)
    with pytest.raises(Unread, match="experts of 'llama'"):
        expert_layers(Fields(path, {"model_type": "llama", "num_experts": 8}), EVERY)
    model = find_model(str(path))
    assert model.unread is not None
    assert str(path) in model.unread
    assert find_model(str(_file(tmp_path, "llama", num_experts=1))).unread is None
