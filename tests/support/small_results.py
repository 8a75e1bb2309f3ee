"""Settings of small simulated results, for tests of what reads results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from support.steptimes import affine

POLICIES = ("fcfs", "lru", "ttl-static:ttl=1.0", "ttl-static:ttl=4.0")
RATES = (1, 2, 4)
SEEDS = (0, 1, 2)
SMALL: dict[str, Any] = {
    "trace": "bfcl.jsonl",
    "limit": 12,
    "kv_blocks": 1700,
    "step_time": affine(0.00117, 3.1e-5, 7.3e-8, 1.9e-9),
}
"""Twelve programs of 2 to 12 turns on an engine that fits only a few of them."""


class Programs:
    """A run that knows only the JCT of its programs."""

    def __init__(self, jct_s: Sequence[float]) -> None:
        self._jct_s = jct_s

    def table(self, name: str) -> pa.Table:
        """Return the table `programs`."""
        assert name == "programs"
        return pa.table({"program": [str(at) for at in range(len(self._jct_s))], "jct_s": list(self._jct_s)})
