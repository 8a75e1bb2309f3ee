"""Element types of the states of recurrent layers."""

from __future__ import annotations

from typing import Final

from continuum_sim.hardware.hf.fields import Fields

_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8_e4m3": 1}
_MODEL: Final = 2
"""Bytes per element in the model's own type."""


def state_bytes(fields: Fields) -> tuple[int, int]:
    """Return the bytes per element of the convolution's state and of the recurrence's.

    vLLM keeps both in the model's type unless the configuration requests another for the recurrence; by default
    Nemotron-H's is exact, and KDA's always is.
    """
    asked = fields.get("mamba_ssm_cache_dtype") if "nemotron_h" in fields.model_type else None
    if fields.model_type.startswith("qwen3_5"):
        asked = fields.get("mamba_ssm_dtype")
    if asked is None:
        exact = "nemotron_h" in fields.model_type
        return _MODEL, 4 if exact else _MODEL
    if asked == "auto":
        return _MODEL, _MODEL
    if not isinstance(asked, str) or asked not in _BYTES:
        raise fields.error("mamba_ssm_dtype", asked, f"one of {', '.join(_BYTES)}")
    return _MODEL, _BYTES[asked]
