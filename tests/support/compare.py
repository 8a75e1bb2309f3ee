"""Check that two runs made the same decisions at the same times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from support.runs import Outcome

RELATIVE = 1e-9
"""Largest relative difference between times of two runs, which add up the same steps in different order."""


def assert_same_runs(one: Outcome, other: Outcome, *, answered: bool = True) -> None:
    """Check for equal decisions in equal order and steps, equal records and token gaps; times equal up to rounding.

    Unless every request is `answered`, there are gaps between tokens of which no record tells.
    """
    assert len(one.log) == len(other.log)
    for left, right in zip(one.log, other.log, strict=True):
        _assert_same(left, right)
    _assert_same(one.turns, other.turns)
    _assert_same(one.programs, other.programs)
    _assert_same(one.totals.plain(), other.totals.plain(), "totals")
    _assert_same(_gaps(one), _gaps(other), "gaps")
    for outcome in (one, other) if answered else ():
        assert_gaps_are_those_of_turns(outcome)


def assert_gaps_are_those_of_turns(outcome: Outcome) -> None:
    """Check that every token but a turn's first ends a gap, and that gaps add up to first token until last token."""
    gaps = outcome.gaps
    assert sum(gaps.number) == sum(record.output_tokens - 1 for record in outcome.turns)
    lasted_s = math.fsum(record.finish_s - record.first_token_s for record in outcome.turns)
    total_s = math.fsum(gap_s * number for gap_s, number in zip(gaps.gap_s, gaps.number, strict=True))
    assert math.isclose(total_s, lasted_s, rel_tol=RELATIVE, abs_tol=RELATIVE)


def _gaps(outcome: Outcome) -> list[tuple[int, float]]:
    return sorted(zip(outcome.gaps.number, outcome.gaps.gap_s, strict=True))


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
