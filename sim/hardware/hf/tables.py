"""The tables in which tokens or positions are looked up, and the LM head."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.stream import stream_of
from continuum_sim.hardware.weights import Weight

VOCAB_PADDING: Final = 64
"""vLLM pads vocabularies to a multiple of this (`DEFAULT_VOCAB_PADDING_SIZE`)."""


def table_weights(outer: Fields, fields: Fields) -> list[Weight]:
    """Return the embedding table, those of positions, and the LM head unless it is tied."""
    vocab, hidden = fields.count("vocab_size"), fields.count("hidden_size")
    stream = stream_of(fields.model_type)
    width = fields.count("word_embed_proj_dim", default=hidden)  # OPT-350m's is narrower than the stream
    table = Weight("model.embed_tokens", vocab, width, parts=vocab, use="table", pad_rows=VOCAB_PADDING)
    found = [table]
    if stream.positions is not None:
        positions = fields.count("max_position_embeddings") + stream.positions
        found.append(Weight("model.embed_positions", positions, hidden, use="table"))
    if width != hidden:
        found.append(Weight("model.project_in", hidden, width))
        found.append(Weight("model.project_out", width, hidden))
    if stream.embedding_norm:
        found.append(Weight("model.embed_norm", hidden, count=2, use="vector"))
    if fields.get("hidden_size_per_layer_input"):
        found += _of_every_layer(fields)
    if fields.get("ngram_vocab_size_ratio"):
        found += _of_ngrams(fields)
    if not is_tied(outer, fields):
        found.append(replace(table, name="lm_head", use="head"))
        if stream.head_bias:
            found.append(replace(table, name="lm_head.bias", columns=1, use="vector"))
    return found


def is_tied(outer: Fields, fields: Fields) -> bool:
    """Return True if the LM head is the embedding table.

    In a nested configuration the outer one decides if its class knows the field (`VllmConfig.with_hf_config`); some
    older files have it in the language model's part, where it counts if true.
    """
    if (tied := stream_of(fields.model_type).tied) is not None:
        return tied
    inner = fields.get("tie_word_embeddings")
    above = outer.get("tie_word_embeddings") if outer is not fields else None
    if above is None or (inner is True and not outer.has("tie_word_embeddings") and outer.model_type in _FROM_WITHIN):
        return fields.flag("tie_word_embeddings")
    return outer.flag("tie_word_embeddings")


_FROM_WITHIN: Final = (
    "fast_vlm",
    "glm4v",
    "glm4v_moe",
    "glm_ocr",
    "llava",
    "llava_next_video",
    "llava_onevision",
    "minimax_m3_vl",
    "paddleocr_vl",
    "perception_lm",
    "qwen2_5_vl",
    "qwen2_vl",
    "video_llama_3",
)
"""Types whose class adopts `tie_word_embeddings: true` from the language model's part."""


def _of_every_layer(fields: Fields) -> list[Weight]:
    """Return the table of Gemma 3n and 4 with a row for every layer, and the projection it is added to."""
    each, rows = fields.count("hidden_size_per_layer_input"), fields.count("vocab_size_per_layer_input")
    width = each * fields.count("num_hidden_layers")
    return [
        Weight("model.embed_tokens_per_layer", rows, width, parts=rows, use="table", pad_rows=VOCAB_PADDING),
        Weight("model.per_layer_model_projection", width, fields.count("hidden_size"), parts=width),
        Weight("model.per_layer_projection_norm", each, use="vector"),
    ]


def _of_ngrams(fields: Fields) -> list[Weight]:
    """Return LongCat's tables for several tokens at once, concatenated, and their projections."""
    vocab, hidden = fields.count("vocab_size"), fields.count("hidden_size")
    tables = fields.count("emb_split_num") * (fields.count("emb_neighbor_num", least=2) - 1)
    # Each table is slightly larger than the one before, so that hashes differ.
    rows = sum(fields.count("ngram_vocab_size_ratio") * vocab + 2 * table + 1 for table in range(tables))
    width = hidden // tables
    return [
        Weight("model.ngram_embeddings.oe_embedder", rows, width, parts=rows, use="table", pad_rows=VOCAB_PADDING),
        Weight("model.ngram_embeddings.oe_projection", hidden, width, count=tables),
    ]
