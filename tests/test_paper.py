"""The paper's comparison: what its script makes of a trace, and negative controls in which retention must not gain."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.traces import Program, find_trace, read_programs, truncate

FOLDER = Path(__file__).parent.parent / "benchmarks"
RETENTION = ["program-fifo", "ttl-static", "ttl"]


@pytest.fixture(scope="module")
def paper() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("paper")


@pytest.fixture(scope="module")
def programs() -> list[Program]:
    return [truncate(program, 30) for program in read_programs(find_trace("swebench"), limit=25)]


@pytest.fixture(scope="module")
def ratios(paper: ModuleType, programs: list[Program]) -> dict[str, dict[str, float]]:
    """Mean JCT of each policy over that of the same order without pins, by setting."""
    scarce: dict[str, Any] = {"arrivals": "poisson:rate=0.1", "kv_blocks": 4000}
    plentiful = {**scarce, "arrivals": "poisson:rate=0.003"}
    found = {}
    for name, case in paper.control_cases(programs, scarce, plentiful).items():
        rows = cs.compare(RETENTION, [0], **case).rows
        found[name] = {row.policy: row.jct_mean_s / rows[0].jct_mean_s for row in rows[1:]}
    return found


def test_pins_gain_where_memory_is_scarce(ratios: dict[str, dict[str, float]]) -> None:
    assert min(ratios["scarce memory (gains)"].values()) < 0.95


def test_no_pin_gains_where_memory_is_plentiful(ratios: dict[str, dict[str, float]]) -> None:
    assert all(ratio == pytest.approx(1, abs=1e-4) for ratio in ratios["plentiful memory"].values())


def test_no_pin_gains_where_gaps_are_longer_than_any_pin_is_worth(ratios: dict[str, dict[str, float]]) -> None:
    assert all(ratio == pytest.approx(1, abs=5e-3) for ratio in ratios["gaps of 10 minutes"].values())


def test_no_pin_gains_where_nothing_is_used_again(ratios: dict[str, dict[str, float]]) -> None:
    assert all(ratio > 0.99 for ratio in ratios["no reuse"].values())
