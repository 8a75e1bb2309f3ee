"""JSON as this package writes it."""

from __future__ import annotations

from typing import Any

import msgspec


def to_json(value: Any) -> str:
    """Return indented JSON with keys in the order they have; infinities and NaN become null."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2).decode() + "\n"


def _plain(value: Any) -> Any:
    """What a foreign object is in JSON: NumPy scalars are numbers, anything else its text."""
    return value.item() if hasattr(value, "item") else str(value)
