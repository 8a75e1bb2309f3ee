"""The tables a token is looked up in, and the LM head."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import Weight

VOCAB_PADDING: Final = 64
"""vLLM fills vocabularies up to a multiple (`DEFAULT_VOCAB_PADDING_SIZE`)."""


def table_weights(fields: Fields) -> list[Weight]:
    """Return the embedding table, and the LM head unless it is the same."""
    vocab, hidden = fields.count("vocab_size"), fields.count("hidden_size")
    table = Weight("model.embed_tokens", vocab, hidden, parts=vocab, use="table", pad_rows=VOCAB_PADDING)
    family = family_of(fields.model_type)
    tied = fields.flag("tie_word_embeddings", default=bool(family.tied))
    return [table] if tied else [table, replace(table, name="lm_head", use="head")]
