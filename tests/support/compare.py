"""Whether two runs decided the same at the same times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from support.runs import Outcome

RELATIVE = 1e-9
"""How far apart the times of two runs may lie: they add the same steps up in another order."""


def assert_same_runs(one: Outcome, other: Outcome) -> None:
    """Same decisions in the same order and steps, same records; times equal to rounding."""
    assert len(one.log) == len(other.log)
    for left, right in zip(one.log, other.log, strict=True):
        _assert_same(left, right)
    _assert_same(one.turns, other.turns)
    _assert_same(one.programs, other.programs)
    _assert_same(one.totals.plain(), other.totals.plain(), "totals")


def _assert_same(one: Any, other: Any, what: str = "") -> None:
    if isinstance(one, float) and isinstance(other, float):
        assert math.isclose(one, other, rel_tol=RELATIVE, abs_tol=RELATIVE), (what, one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            _assert_same(value, other[key], f"{what}.{key}")
    elif isinstance(one, Sequence) and not isinstance(one, str):
        assert len(one) == len(other), (what, one, other)
        for left, right in zip(one, other, strict=True):
            _assert_same(left, right, f"{what} {one}")
    else:
        assert one == other, (what, one, other)
