"""Tables of tokens and positions, the LM head, and the norms about the stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.hardware import ModelSpec, find_model

SHAPES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 500,
    "max_position_embeddings": 96,
}


def read(folder: Path, model_type: str, **more: Any) -> ModelSpec:
    config = {"architectures": ["LlamaForCausalLM"], "model_type": model_type, **SHAPES, **more}
    (folder / "config.json").write_text(json.dumps(config))
    return find_model(folder)


def held(model: ModelSpec, *names: str, ranks: int = 1) -> int:
    """Numbers of some tensors on one rank."""
    return sum(weight.bytes_per_rank(ranks) // 2 for weight in model.weights if weight.name in names)


def test_vocabularies_are_filled_up_to_64_and_divided(tmp_path: Path) -> None:
    model = read(tmp_path, "llama")
    assert held(model, "model.embed_tokens") == held(model, "lm_head") == 512 * 64
    assert held(model, "model.embed_tokens", ranks=4) == 128 * 64


@pytest.mark.parametrize(
    ("model_type", "tied"),
    [
        ("llama", False),
        ("gemma", True),
        ("starcoder2", True),
        ("qwen2", False),
        ("never_seen", False),
    ],
)
def test_the_class_ties_the_lm_head_where_the_file_is_silent(tmp_path: Path, model_type: str, tied: bool) -> None:
    assert read(tmp_path, model_type).tied_embeddings is tied
    assert read(tmp_path, model_type, tie_word_embeddings=not tied).tied_embeddings is not tied


@pytest.mark.parametrize(("model_type", "tied"), [("gemma2", True), ("cohere", True), ("olmoe", False)])
def test_some_classes_take_no_notice_of_the_file(tmp_path: Path, model_type: str, tied: bool) -> None:
    routed = {"num_experts": 4} if model_type == "olmoe" else {}
    assert read(tmp_path, model_type, tie_word_embeddings=not tied, **routed).tied_embeddings is tied


@pytest.mark.parametrize(
    ("model_type", "outer", "inner", "tied"),
    [
        ("mistral3", None, False, True),  # its own class ties, whatever the language model's part says
        ("mistral3", False, True, False),
        ("qwen3_vl", True, None, True),
        ("qwen3_vl", None, True, False),
        ("qwen2_5_vl", None, True, True),  # older files have it in the part, which the class takes over
        ("qwen2_5_vl", None, False, False),
        ("never_seen", None, True, True),
    ],
)
def test_of_a_nested_configuration_the_outer_part_ties(
    tmp_path: Path, model_type: str, outer: bool | None, inner: bool | None, tied: bool
) -> None:
    texts = {"mistral3": "mistral", "qwen3_vl": "qwen3_vl_text", "qwen2_5_vl": "qwen2_5_vl_text", "never_seen": "llama"}
    text: dict[str, Any] = {"model_type": texts[model_type], **SHAPES}
    if inner is not None:
        text["tie_word_embeddings"] = inner
    config = {"architectures": ["LlamaForCausalLM"], "model_type": model_type, "text_config": text}
    if outer is not None:
        config["tie_word_embeddings"] = outer
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_model(tmp_path).tied_embeddings is tied


@pytest.mark.parametrize(("model_type", "rows"), [("gpt2", 96), ("gpt_bigcode", 96), ("opt", 98), ("llama", 0)])
def test_learned_positions_are_a_table(tmp_path: Path, model_type: str, rows: int) -> None:
    assert held(read(tmp_path, model_type), "model.embed_positions") == rows * 64


def test_opts_table_may_be_narrower_than_its_stream(tmp_path: Path) -> None:
    model = read(tmp_path, "opt", word_embed_proj_dim=32)
    assert held(model, "model.embed_tokens") == 512 * 32
    assert held(model, "model.project_in") == held(model, "model.project_out") == 32 * 64


def test_the_lm_head_of_gpt_j_has_a_bias(tmp_path: Path) -> None:
    assert held(read(tmp_path, "gptj", tie_word_embeddings=False), "lm_head.bias", ranks=2) == 256
    assert held(read(tmp_path, "phi", tie_word_embeddings=False), "lm_head.bias") == 0


def test_gemma_3ns_table_has_a_row_for_every_layer(tmp_path: Path) -> None:
    more = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 130, "head_dim": 16}
    model = read(tmp_path, "gemma4_text", **more)
    assert held(model, "model.embed_tokens_per_layer") == 192 * 2 * 8
    assert held(model, "model.per_layer_model_projection", ranks=2) == 8 * 64


def test_several_tokens_at_once_are_looked_up_in_tables_of_ngrams(tmp_path: Path) -> None:
    model = read(tmp_path, "llama", ngram_vocab_size_ratio=2, emb_split_num=2, emb_neighbor_num=3)
    # Four tables of 1,001, 1,003, 1,005 and 1,007 rows, filled up together to a multiple of 64.
    assert held(model, "model.ngram_embeddings.oe_embedder") == 4032 * 16
    assert held(model, "model.ngram_embeddings.oe_projection", ranks=2) == 4 * 16 * 64


@pytest.mark.parametrize(
    ("model_type", "more", "norms"),
    [
        ("llama", {}, 2 * 2 + 1),
        ("gemma2", {}, 2 * 4 + 1),
        ("glm4", {}, 2 * 4 + 1),
        ("cohere", {}, 2 * 1 + 1),
        ("olmo", {}, 0),
        ("gpt_neox", {}, 2 * (2 * 2 + 1)),
        ("bloom", {}, 2 * (2 * 2 + 1) + 2),
        ("phi", {}, 2 * (2 * 1 + 1)),
        ("opt", {"do_layer_norm_before": False}, 2 * 2 * 2),
        ("falcon", {}, 2 * (2 * 1 + 1)),
        ("falcon", {"new_decoder_architecture": True}, 2 * (2 * 2 + 1)),
        ("falcon", {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1}, 2 * (2 * 1 + 1)),
        ("falcon", {"parallel_attn": False}, 2 * (2 * 2 + 1)),
    ],
)
def test_norms_are_counted_as_the_class_has_them(
    tmp_path: Path, model_type: str, more: dict[str, Any], norms: int
) -> None:
    model = read(tmp_path, model_type, **more)
    names = ("model.layers.{}.norm", "model.norm", "model.embed_norm")
    assert held(model, *names) == norms * 64
    assert held(model, *names, ranks=4) == norms * 64
