"""How long a request may be, as vLLM derives it (`_get_and_verify_max_len` of `vllm/config/model.py`, 0.32)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from continuum_sim.hardware.hf.fields import Fields

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

_FACTOR_HELD: Final = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
"""Types of RoPE scaling whose factor is in the length already."""


def model_lengths(fields: Fields) -> tuple[int, int]:
    """Return the length without `--max-model-len`, and up to where that may raise it.

    Raises
    ------
    ConfigError
        If a field is no positive number.
    """
    longest = float(_derived(fields))
    ropes = list(_ropes(fields))
    if "gemma3" not in fields.model_type:
        longest *= _factor(fields, ropes)
    length = int(longest)
    if any(_kind(rope) in ("longrope", "su") for rope in ropes):
        length = fields.count("original_max_position_embeddings", default=length)
    return length, max(int(longest), fields.count("model_max_length", default=1))


def _derived(fields: Fields) -> int:
    if fields.get("model_max_length"):  # of Command-R: longer than the positions
        return fields.count("model_max_length")
    given = [fields.count(name) for name in _LENGTHS if fields.get(name) is not None]
    return min(given, default=_WITHOUT)


def _factor(fields: Fields, ropes: list[dict[str, Any]]) -> float:
    factor = 1.0
    for rope in ropes:
        if _kind(rope) not in _FACTOR_HELD and (given := rope.get("factor")) is not None:
            if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < 2**31:
                raise fields.error("rope factor", given, "a positive number")
            factor = float(given)
    return factor


def _ropes(fields: Fields) -> Iterator[dict[str, Any]]:
    """The RoPE settings, one for each type of layer where they differ."""
    rope = fields.get("rope_parameters", "rope_scaling")
    if not isinstance(rope, dict) or not rope:
        return
    nested = [value for value in rope.values() if isinstance(value, dict)]
    yield from (value for value in nested if value) if len(nested) == len(rope) else [rope]


def _kind(rope: dict[str, Any]) -> str:
    return str(rope.get("rope_type", rope.get("type", "default")))
