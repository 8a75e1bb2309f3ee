"""How long a request may be, as vLLM derives it (`_get_and_verify_max_len` of `vllm/config/model.py`, 0.32)."""

from __future__ import annotations

from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.rope import ropes

_LENGTHS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
"""The fields that vLLM takes the shortest of."""

_WITHOUT: Final = 2048
"""Tokens where the configuration says nothing."""

_ANY: Final = 2**31
"""As far as `--max-model-len` may raise it then."""

_FACTOR_HELD: Final = ("longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
"""Types of RoPE scaling whose factor is in the length already."""


def model_lengths(fields: Fields) -> tuple[int, int]:
    """Return the length without `--max-model-len`, and up to where that may raise it.

    `tokenizer_config.json` has no part in it: vLLM looks there for embedding models only.

    Raises
    ------
    ConfigError
        If a field is no positive number.
    """
    told = _told(fields)
    scaled = ropes(fields)
    longest = float(_WITHOUT if told is None else told)
    if "gemma3" not in fields.model_type:  # whose length is scaled already
        for rope in scaled:
            if rope.kind not in _FACTOR_HELD and rope.factor is not None:
                longest = float(_WITHOUT if told is None else told) * rope.factor
    length = int(longest)
    if length < 1:
        raise ConfigError(f"{fields.path}: its length times the factor of RoPE scaling is {longest:g} tokens")
    long = [rope for rope in scaled if rope.kind == "longrope"]
    if long and fields.model_type == "phimoe" and long[0].original is not None:
        length = long[0].original
    elif long:
        length = fields.count("original_max_position_embeddings", default=length)
    if told is None:
        return length, _ANY
    return length, max(int(longest), fields.count("model_max_length", default=1))


def _told(fields: Fields) -> int | None:
    """The length before scaling; None where no field says it."""
    given = {name: fields.count(name) for name in _LENGTHS if fields.get(name) is not None}
    # Of Command-R: longer than the positions.
    return given.get("model_max_length", min(given.values(), default=None))
