"""Rotary embeddings and their scaling, with the checks of transformers and vLLM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.hf.fields import Fields

_NEEDED: Final = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor"),
}
"""Fields that a type requires (`RotaryEmbeddingConfigMixin` of transformers)."""

_WITHOUT_NEED: Final = (
    "default",
    "su",
    "mrope",
    "ntk",
    "proportional",
    "mllama4",
    "deepseek_yarn",
    "deepseek_llama_scaling",
    "openpangu",
    "bailing_mrope",
    "telechat3-yarn",
    "axial",
    "xdrope",
)

_TAKES_MROPE: Final = ("qwen2_vl_text", "qwen2_5_vl_text")
"""Types whose class reads `mrope` as `default` before vLLM looks for its section."""


@dataclass(frozen=True)
class Rope:
    """One setting; models whose layers differ have one per type of layer."""

    kind: str
    factor: float | None
    original: int | None
    """`original_max_position_embeddings` inside it."""


def ropes(fields: Fields) -> list[Rope]:
    """Return the settings: `rope_scaling`, or `rope_parameters` in newer files.

    Raises
    ------
    ConfigError
        If a setting is malformed, or vLLM does not accept it.
    """
    given = fields.own.get("rope_scaling") or fields.own.get("rope_parameters")
    if not given:
        return []
    if not isinstance(given, dict):
        raise fields.error("rope_scaling", given, "an object")
    nested = [value for value in given.values() if isinstance(value, dict)]
    if nested and len(nested) == sum(value is not None for value in given.values()):
        return [_rope(fields, value) for value in nested if value]
    return [_rope(fields, given)]


def _rope(fields: Fields, rope: dict[str, Any]) -> Rope:
    kind = _kind(fields, rope)
    for name in _NEEDED.get(kind, ()):
        if name not in rope:
            raise ConfigError(f"{fields.path}: RoPE scaling of type {kind!r} has no {name!r}, which it needs")
    if fields.model_type == "phi3":
        _check_phi3(fields, rope, kind)
    factor = rope.get("factor")
    if (factor is not None and not _is_number(factor)) or (factor is None and kind in ("linear", "ntk")):
        raise fields.error("factor of RoPE scaling", factor, "a positive number")
    original = rope.get("original_max_position_embeddings")
    return Rope(kind, factor, original if isinstance(original, int) else None)


def _kind(fields: Fields, rope: dict[str, Any]) -> str:
    """Return its type, also under the key of older files."""
    kind, older = rope.get("rope_type", rope.get("type", "default")), rope.get("type")
    if older is not None and older != kind and (older, kind) not in (("su", "longrope"), ("mrope", "default")):
        raise ConfigError(f"{fields.path}: RoPE scaling has rope_type {kind!r} and type {older!r}: give one of them")
    if not isinstance(kind, str) or kind not in (*_NEEDED, *_WITHOUT_NEED):
        raise ConfigError(f"{fields.path}: unknown RoPE scaling type {kind!r}")
    if kind == "mrope" and "mrope_section" not in rope and fields.model_type not in _TAKES_MROPE:
        raise ConfigError(f"{fields.path}: RoPE scaling of type 'mrope' has no 'mrope_section', which it needs")
    return {"su": "longrope", "mrope": "default", "telechat3-yarn": "yarn"}.get(kind, kind)


def _check_phi3(fields: Fields, rope: dict[str, Any], kind: str) -> None:
    """Check that Phi-3 has only LongRoPE; its class also takes the old name, with its length inside."""
    if kind not in ("default", "longrope"):
        raise ConfigError(
            f"{fields.path}: RoPE scaling is of type {kind!r}, which Phi-3 does not take, only 'longrope'"
        )
    if rope.get("rope_type", rope.get("type")) == "su" and "original_max_position_embeddings" not in rope:
        raise ConfigError(
            f"{fields.path}: RoPE scaling of type 'su' has no 'original_max_position_embeddings', which it needs;"
            " call it 'longrope'"
        )
    rotated = fields.count("hidden_size") // fields.count("num_attention_heads")
    part = rope.get("partial_rotary_factor", fields.get("partial_rotary_factor"))
    expected = int(rotated * (part if isinstance(part, int | float) else 1)) // 2
    for name in ("short_factor", "long_factor"):
        if (value := rope.get(name)) is not None and (not isinstance(value, list) or len(value) != expected):
            raise ConfigError(f"{fields.path}: {name} of RoPE scaling is not a list of {expected} numbers")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**31
