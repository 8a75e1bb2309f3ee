"""Numbers as they travel in the page: typed arrays in base64, which JavaScript reads without parsing a digit."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Literal

import numpy as np

Kind = Literal["f8", "f4", "u4"]


def column(values: Any, kind: Kind) -> list[str]:
    """Return `[kind, base64]`: little-endian 64- or 32-bit floats, or 32-bit unsigned integers."""
    return [kind, b64encode(np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()).decode("ascii")]
