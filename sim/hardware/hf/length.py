"""The longest request, as vLLM derives it (`_get_and_verify_max_len` of `vllm/config/model.py`, 0.32)."""

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
"""The fields of which vLLM takes the smallest value."""

_WITHOUT: Final = 2048
"""Tokens if the configuration has none of these."""

_ANY: Final = 2**31
"""How far `--max-model-len` may then raise it."""

_FACTOR_HELD: Final = ("longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
"""Types of RoPE scaling whose factor is already in the length."""


def model_lengths(fields: Fields) -> tuple[int, int]:
    """Return the length without `--max-model-len`, and the limit to which that may raise it.

    `tokenizer_config.json` plays no part: vLLM reads it for embedding models only.

    Raises
    ------
    ConfigError
        If a field is not a positive number.
    """
    told = _told(fields)
    scaled = ropes(fields)
    longest = float(_WITHOUT if told is None else told)
    if "gemma3" not in fields.model_type:  # its length is scaled already
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
    """Return the length before scaling; None if no field gives it."""
    given = {name: fields.count(name) for name in _LENGTHS if fields.get(name) is not None}
    # In Command-R, longer than the positions.
    return given.get("model_max_length", min(given.values(), default=None))
