from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from oracles.refresh import CONFIGS, read_answers

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_model
from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.hf.fields import read_fields
from continuum_sim.hardware.hf.layout import layer_count
from continuum_sim.hardware.hf.mixers import mixed
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.weights import Weight

DENSE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
LATENT = {"kv_lora_rank": 32, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 12}
ROUTED = {"n_routed_experts": 4, "moe_intermediate_size": 16, "n_shared_experts": 1, "num_experts_per_tok": 2}
MAMBA_2 = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 4, "mamba_d_conv": 4, "mamba_expand": 2}
DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "num_experts": 4,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
LETTERS = {"full": "F", "sliding": "S", "chunked": "C", "mla": "L", "recurrent": "R"}


def model(folder: Path, model_type: str, **fields: Any) -> ModelSpec:
    """The model of a small configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(DENSE | {"model_type": model_type} | fields))
    return find_model(path)


def kinds(of: ModelSpec) -> str:
    """A letter for what each layer keeps, `.` for nothing."""
    return "".join(
        "".join(LETTERS[cache.kind] for cache in of.caches if layer in cache.layers) or "."
        for layer in range(of.n_layers)
    )


def weight(of: ModelSpec, end: str) -> Weight:
    """The one weight whose name ends so."""
    (found,) = [each for each in of.known_weights() if each.name.endswith(end)]
    return found


def names(of: ModelSpec) -> set[str]:
    """The last words of all names."""
    return {each.name.rpartition("self_attn.")[2] for each in of.known_weights()}


EVERY_OTHER = ["sliding_attention", "full_attention"] * 4


@pytest.mark.parametrize(
    ("model_type", "fields", "expected"),
    [
        ("llama", {}, "FFFFFFFF"),
        ("llama", {"sliding_window": 32}, "SSSSSSSS"),
        ("llama", {"sliding_window": 32, "layer_types": EVERY_OTHER}, "SFSFSFSF"),
        ("llama", {"sliding_window": 32, "layer_types": ["full_attention"] * 8}, "FFFFFFFF"),
        ("mistral", {}, "SSSSSSSS"),  # the class's default is 4096
        ("mistral", {"sliding_window": None}, "FFFFFFFF"),
        ("mistral", {"sliding_window": 0}, "FFFFFFFF"),
        ("mistral", {"sliding_window": 32, "use_sliding_window": False}, "SSSSSSSS"),  # its class has no such field
        ("qwen2", {"sliding_window": 32, "max_window_layers": 0}, "FFFFFFFF"),
        ("qwen2", {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 8}, "FFFFFFFF"),
        ("qwen2", {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 0}, "SSSSSSSS"),
        ("qwen3_moe", {"sliding_window": 32, "use_sliding_window": True, "num_experts": 4}, "SSSSSSSS"),
        (
            "qwen3_moe",  # vLLM's class does not look at layers one by one
            {"sliding_window": 32, "use_sliding_window": True, "num_experts": 4, "layer_types": EVERY_OTHER},
            "FFFFFFFF",
        ),
        ("gemma2", {"sliding_window": 32}, "SFSFSFSF"),
        ("gemma3_text", {"sliding_window": 32}, "SSSSSFSS"),
        ("gemma3_text", {"sliding_window": 32, "sliding_window_pattern": 4}, "SSSFSSSF"),
        ("gemma3n_text", {"sliding_window": 32, "num_kv_shared_layers": 2}, "SSSSFS.."),
        ("gemma4_text", {"sliding_window": 32}, "SSSSSFSF"),  # the last layer sees everything
        ("cohere2", {"sliding_window": 32}, "SSSFSSSF"),
        ("exaone4", {"sliding_window": 32, "sliding_window_pattern": 3}, "SSFSSFSS"),
        ("exaone4", {"sliding_window": None, "sliding_window_pattern": None}, "FFFFFFFF"),
        ("olmo3", {"sliding_window": 32}, "SSSFSSSF"),
        ("cwm", {"sliding_window": 32}, "FSSSFSSS"),
        ("gpt_oss", {"sliding_window": 32, "num_local_experts": 0}, "SFSFSFSF"),
        ("smollm3", {"sliding_window": 32, "use_sliding_window": True}, "FFFSFFFS"),
        ("llama4_text", {"attention_chunk_size": 32, "num_local_experts": 0}, "CCCFCCCF"),
        ("llama4_text", {"attention_chunk_size": None, "num_local_experts": 0}, "FFFFFFFF"),
        ("llama4_text", {"attention_chunk_size": 32, "no_rope_layers": [1, 0] * 4, "num_local_experts": 0}, "CFCFCFCF"),
        ("granitemoehybrid", MAMBA_2 | {"layer_types": ["mamba", "attention"] * 4, "num_local_experts": 0}, "RFRFRFRF"),
        ("jamba", {"attn_layer_period": 4, "attn_layer_offset": 2, "num_experts": 1}, "RRFRRRFR"),
        ("falcon_h1", MAMBA_2, "FRFRFRFRFRFRFRFR"),
        ("qwen3_next", DELTA, "RRRFRRRF"),
        ("qwen3_next", DELTA | {"full_attention_interval": 2}, "RFRFRFRF"),
        ("bailing_hybrid", LATENT | {"layer_group_size": 3, "num_experts": 0}, "RRLRRLRR"),
        ("bailing_hybrid", LATENT | {"layer_group_size": 3, "num_experts": 0, "no_kda_lora": True}, "RRLRRLLL"),
        ("lfm2", {"full_attn_idxs": [2, 5]}, "RRFRRFRR"),
    ],
)
def test_each_layer_keeps_what_its_class_and_fields_say(
    model_type: str, fields: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert kinds(model(tmp_path, model_type, **fields)) == expected


def test_a_pattern_of_letters_has_layers_of_one_part_each(tmp_path: Path) -> None:
    mamba = {"mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 4, "n_groups": 2, "conv_kernel": 4}
    read = model(tmp_path, "nemotron_h", hybrid_override_pattern="M-M*-M-*", **mamba)
    assert kinds(read) == "R.RF.R.F"
    assert weight(read, "mixer.down_proj").layers == (1, 4, 6)
    words = ["mamba", "mlp", "attention"]
    del (fields := json.loads((tmp_path / "config.json").read_text()))["hybrid_override_pattern"]
    del fields["num_hidden_layers"]
    (tmp_path / "config.json").write_text(json.dumps(fields | {"layers_block_type": words}))
    assert kinds(find_model(tmp_path / "config.json")) == "R.F"


def test_windows_as_vllm_counts_them(tmp_path: Path) -> None:
    assert model(tmp_path, "cohere2", sliding_window=32).sliding_window == 33
    assert model(tmp_path, "gemma3_text", sliding_window=32).sliding_window == 32
    assert model(tmp_path, "gemma3_text", sliding_window=32, use_bidirectional_attention=True).sliding_window == 17


def test_vllm_refuses_a_window_in_some_layers_of_qwen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_window_layers is 4, expected 8: vLLM serves this kind with a window"):
        model(tmp_path, "qwen2", sliding_window=32, use_sliding_window=True, max_window_layers=4)


def test_too_few_or_unknown_layers_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layer_types is '2 long', expected 8 entries, one a layer"):
        model(tmp_path, "llama", layer_types=["full_attention"] * 2)
    with pytest.raises(ConfigError, match="layer_types has 'telepathy', which is not known; use --step-time fitted"):
        model(tmp_path, "llama", layer_types=["telepathy"] * 8).known_weights()


def test_layers_that_mix_tokens_otherwise_are_not_taken_for_attention(tmp_path: Path) -> None:
    unknown = "is not known; use --step-time fitted:FILE"
    with pytest.raises(ConfigError, match=rf"state-space layers of 'novel' {unknown}"):
        model(tmp_path, "novel", ssm_state_size=16).known_weights()
    with pytest.raises(ConfigError, match=rf"linear attention of 'minimax' {unknown}"):  # its class alone says so
        model(tmp_path, "minimax").known_weights()


def test_heads_that_differ_from_layer_to_layer(tmp_path: Path) -> None:
    wide = {"global_head_dim": 32, "num_global_key_value_heads": 4, "sliding_window": 32}
    slides, sees_all = model(tmp_path, "gemma4_text", attention_k_eq_v=True, **wide).caches
    assert (slides.kind, slides.n_kv_heads, slides.head_dim) == ("sliding", 2, 16)
    assert (sees_all.kind, sees_all.n_kv_heads, sees_all.head_dim) == ("full", 4, 32)
    _, sees_all = model(tmp_path, "gemma4_text", **wide).caches
    assert (sees_all.n_kv_heads, sees_all.head_dim) == (
        2,
        32,
    )  # another number of heads is for `attention_k_eq_v` alone

    swa = {"swa_num_attention_heads": 8, "swa_num_key_value_heads": 4, "swa_head_dim": 16, "swa_v_head_dim": 8}
    pattern = {"hybrid_layer_pattern": [0, 1] * 4, "sliding_window": 32, "v_head_dim": 8, **ROUTED}
    read = model(tmp_path, "mimo_v2_flash", moe_layer_freq=[0] * 8, **pattern, **swa)
    assert [(one.kind, one.n_kv_heads, one.numbers_per_token) for one in read.caches] == [
        ("full", 2, 16 + 8),
        ("sliding", 4, 16 + 8),
    ]
    assert weight(read, "sinks").layers == (1, 3, 5, 7)


def test_layers_of_an_architecture_search_may_have_no_attention(tmp_path: Path) -> None:
    attends = {"attention": {"n_heads_in_group": 4}, "ffn": {"ffn_mult": 1.0}}
    fewer = {"attention": {"n_heads_in_group": 8}, "ffn": {"ffn_mult": 1.0}}
    skips = {"attention": {"no_op": True}, "ffn": {"ffn_mult": 1.0}}
    blocks = [attends, skips, fewer, attends] * 2
    read = model(tmp_path, "nemotron-nas", block_configs=blocks)
    assert [(one.n_kv_heads, one.layers) for one in read.caches] == [(2, (0, 3, 4, 7)), (1, (2, 6))]


def test_layers_that_use_the_keys_of_others_have_queries_alone(tmp_path: Path) -> None:
    read = model(tmp_path, "gemma3n_text", sliding_window=32, num_kv_shared_layers=2)
    of_keys = [each.layers for each in read.known_weights() if each.name.endswith(("k_proj", "k_norm"))]
    of_queries = [each.layers for each in read.known_weights() if each.name.endswith("q_proj")]
    assert not {6, 7} & {layer for layers in of_keys for layer in layers}
    assert {layer for layers in of_queries for layer in layers} == set(range(8))


@pytest.mark.parametrize(
    ("model_type", "fields", "kv_heads"),
    [
        ("falcon", {"multi_query": True}, 1),
        ("falcon", {"multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 4}, 4),
        ("gpt_bigcode", {}, 1),
        ("gpt_bigcode", {"multi_query": False}, 8),
        ("chatglm", {"multi_query_attention": True, "multi_query_group_num": 2, "ffn_hidden_size": 128}, 2),
        ("chatglm", {"multi_query_attention": False, "multi_query_group_num": 2, "ffn_hidden_size": 128}, 8),
    ],
)
def test_how_many_kv_heads_older_kinds_have(
    model_type: str, fields: dict[str, Any], kv_heads: int, tmp_path: Path
) -> None:
    assert model(tmp_path, model_type, num_key_value_heads=None, **fields).n_kv_heads == kv_heads


def test_ranks_beyond_the_kv_heads_hold_copies(tmp_path: Path) -> None:
    keys = weight(model(tmp_path, "llama"), "k_proj")
    assert (keys.bytes_per_rank(1), keys.bytes_per_rank(2), keys.bytes_per_rank(8)) == (32768, 32768 // 2, 32768 // 2)


@pytest.mark.parametrize(
    ("model_type", "fields", "biases"),
    [
        ("llama", {"attention_bias": True}, {"q_proj.bias", "k_proj.bias", "v_proj.bias", "o_proj.bias"}),
        ("qwen2", {}, {"q_proj.bias", "k_proj.bias", "v_proj.bias"}),
        ("qwen3", {"attention_bias": True}, {"q_proj.bias", "k_proj.bias", "v_proj.bias"}),
        ("phi", {}, {"q_proj.bias", "k_proj.bias", "v_proj.bias", "o_proj.bias"}),
        ("gemma", {}, set()),
    ],
)
def test_which_projections_have_a_bias(
    model_type: str, fields: dict[str, Any], biases: set[str], tmp_path: Path
) -> None:
    found = {name for name in names(model(tmp_path, model_type, **fields)) if name.endswith("proj.bias")}
    assert {name for name in found if "mlp" not in name} == biases


def test_queries_of_qwen3_next_have_a_gate(tmp_path: Path) -> None:
    assert weight(model(tmp_path, "qwen3_next", **DELTA), "q_proj").rows == 2 * 8 * 16
    assert weight(model(tmp_path, "qwen3_next", attn_output_gate=False, **DELTA), "q_proj").rows == 8 * 16


def test_a_latent_vector_stands_for_all_heads_on_every_rank(tmp_path: Path) -> None:
    read = model(tmp_path, "deepseek_v3", q_lora_rank=None, **LATENT, **ROUTED)
    (kept,) = read.caches
    assert (kept.kind, kept.n_kv_heads, kept.head_dim, kept.value_dim) == ("mla", 1, 32 + 4, 0)
    assert weight(read, "kv_a_proj_with_mqa").bytes_per_rank(8) == 2 * 8 * (32 + 4) * 64
    assert weight(read, "kv_b_proj").bytes_per_rank(8) == 2 * 8 * (8 + 12) * 32
    assert weight(read, "q_proj").rows == 8 * (8 + 4)
    low = model(tmp_path, "deepseek_v3", q_lora_rank=24, **LATENT, **ROUTED)
    assert (weight(low, "q_a_proj").rows, weight(low, "q_b_proj").columns) == (24, 24)
    assert "q_proj" not in names(low)


def test_minicpm3_keeps_its_heads_in_full(tmp_path: Path) -> None:
    (kept,) = model(tmp_path, "minicpm3", q_lora_rank=24, **LATENT).caches
    assert (kept.kind, kept.n_kv_heads, kept.numbers_per_token) == ("full", 8, 2 * (8 + 4))


def test_sparse_attention_keeps_a_key_for_its_indexer(tmp_path: Path) -> None:
    index = {"q_lora_rank": 24, "index_topk": 64, "index_n_heads": 4, "index_head_dim": 128}
    indexer, latent = model(tmp_path, "deepseek_v32", **LATENT, **ROUTED, **index).caches
    assert (indexer.layers, indexer.state_content_bytes) == (tuple(range(8)), 128 + 4)
    assert latent.fp8_state_content_bytes == 656
    every_third = {"index_topk_freq": 3, "index_skip_topk_offset": 2}
    indexer, _ = model(tmp_path, "glm_moe_dsa", **LATENT, **ROUTED, **index, **every_third).caches
    assert indexer.layers == (0, 1, 4, 7)
    indexer, _ = model(tmp_path, "glm_moe_dsa", **LATENT, **ROUTED, **index, index_topk_pattern="FSSSFSSS").caches
    assert indexer.layers == (0, 4)


def test_layers_of_minimax_m3_keep_a_key_for_their_indexers(tmp_path: Path) -> None:
    sparse = {"sparse_index_dim": 32, "sparse_attention_freq": [0, 0, 1, 1, 1, 1, 1, 1]}
    fields = {"sparse_attention_config": sparse, "num_local_experts": 4, "dense_intermediate_size": 32}
    read = model(tmp_path, "minimax_m3_text", **fields)
    assert kinds(read) == "FF" + 6 * "FL"
    assert weight(read, "index_q_proj").bytes_per_rank(8) == 6 * 2 * 32 * 64
    assert next(one for one in read.caches if one.kind == "mla").state_content_bytes == 2 * 32


def test_one_group_of_mamba_2_is_on_every_rank(tmp_path: Path) -> None:
    def state(groups: int) -> CacheLayers:
        fields = MAMBA_2 | {"mamba_n_groups": groups, "layer_types": ["mamba"] * 8, "num_local_experts": 0}
        (kept,) = model(tmp_path, "granitemoehybrid", **fields).caches
        return kept

    inner, of_groups = 128, 2 * 4
    conv, temporal = state(1).states
    assert (conv.shape_on(1), temporal.shape_on(1)) == ((3, inner + of_groups), (8, 16, 4))
    assert (conv.shape_on(4), temporal.shape_on(4)) == ((3, inner // 4 + of_groups), (2, 16, 4))
    conv, _ = state(4).states
    assert conv.shape_on(4) == (3, (inner + 4 * of_groups) // 4)


def test_types_of_states_are_those_the_configuration_asks_for(tmp_path: Path) -> None:
    def sizes(model_type: str, **fields: Any) -> tuple[int, ...]:
        read = model(tmp_path, model_type, **fields)
        return tuple(state.element_bytes for cache in read.caches for state in cache.states)

    assert sizes("qwen3_next", **DELTA) == (2, 2)
    assert sizes("qwen3_5_text", **DELTA, mamba_ssm_dtype="float32") == (2, 4)
    mamba = {"mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 4, "n_groups": 2}
    assert sizes("nemotron_h", **mamba, hybrid_override_pattern="MMMM****") == (2, 4)
    assert sizes("nemotron_h", **mamba, hybrid_override_pattern="MMMM****", mamba_ssm_cache_dtype="bfloat16") == (2, 2)


def test_decays_are_kept_exact(tmp_path: Path) -> None:
    assert weight(model(tmp_path, "qwen3_next", **DELTA), "A_log").bytes_per_rank(2) == 6 * 4 * 4 // 2


def test_blocks_that_layers_share_are_counted_once(tmp_path: Path) -> None:
    mamba = {"n_mamba_heads": 8, "mamba_headdim": 16, "mamba_d_state": 4, "mamba_ngroups": 1}
    shared = {"hybrid_layer_ids": [1, 3, 5], "num_mem_blocks": 2, "attention_head_dim": 16, "adapter_rank": 8}
    types = ["hybrid" if layer in (1, 3, 5) else "mamba" for layer in range(8)]
    read = model(tmp_path, "zamba2", layers_block_type=types, **mamba, **shared)
    assert kinds(read) == "RRFRRFRRFRR"
    assert weight(read, "self_attn.q_proj").layers == (1, 3)
    assert weight(read, "gate_up_proj_adapter.A").layers == (1, 3, 5)


def test_compressed_attention_keeps_a_window_and_vectors(tmp_path: Path) -> None:
    fields = {
        "compress_ratios": [0, 4, 128] + [0] * 5,
        "head_dim": 512,
        "q_lora_rank": 24,
        "o_groups": 2,
        "o_lora_rank": 16,
        "index_n_heads": 4,
        "index_head_dim": 128,
        "sliding_window": 128,
        **ROUTED,
    }
    window, *of_layers = model(tmp_path, "deepseek_v4", **fields).caches
    assert (window.layers, window.window, window.block_size) == (tuple(range(8)), 128, 64)
    assert [(one.layers, one.head_dim, one.tokens_per_state, one.window) for one in of_layers] == [
        ((1,), 132, 4, None),
        ((1,), 512, 1, 8),
        ((1,), 512, 4, None),
        ((1,), 2048, 1, 8),
        ((2,), 512, 128, None),
        ((2,), 1024, 1, 128),
    ]


def test_caches_are_those_of_vllm() -> None:
    wrong = []
    for record in read_answers():
        answer, ranks = record["answer"], record["question"].get("tensor_parallel_size", 1)
        if "layers" not in answer:
            continue
        fields = read_fields(CONFIGS / record["config"] / "config.json").text()
        caches, _ = mixed(fields, layer_count(fields))
        ours, theirs = Counter[object](), Counter[object]()
        for cache in caches:
            ours[_ours(cache, ranks)] += cache.n_layers
        for layer in answer["layers"]:
            theirs[_theirs(layer)] += layer["layers"]
        if ours != theirs:
            wrong.append((record["config"], record["question"], ours - theirs, theirs - ours))
    assert not wrong


def _ours(cache: CacheLayers, ranks: int) -> tuple[object, ...]:
    if cache.states:
        return tuple((state.shape_on(ranks), state.element_bytes) for state in cache.states)
    value_dim = cache.head_dim if cache.value_dim is None else cache.value_dim
    return max(1, cache.n_kv_heads // ranks), cache.head_dim, value_dim, cache.window


def _theirs(layer: dict[str, Any]) -> tuple[object, ...]:
    if "shapes" in layer:
        sizes = [4 if dtype == "float32" else 2 for dtype in layer["dtypes"]]
        return tuple((tuple(shape), size) for shape, size in zip(layer["shapes"], sizes, strict=True))
    window = layer.get("sliding_window", layer.get("attention_chunk_size"))
    return layer["num_kv_heads"], layer["head_size"], layer["head_size_v"], window
