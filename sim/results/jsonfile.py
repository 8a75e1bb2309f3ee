"""JSON in this package's format."""

from __future__ import annotations

from typing import Any

import msgspec


def to_json(value: Any) -> str:
    """Return indented JSON with keys in their given order; infinities and NaN become null."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2).decode() + "\n"


def _plain(value: Any) -> Any:
    """Return a foreign object as JSON can hold it: NumPy scalars as numbers, anything else as its text."""
    return value.item() if hasattr(value, "item") else str(value)
