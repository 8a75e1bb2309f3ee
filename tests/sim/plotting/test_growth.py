"""Runs whose backlog grows are marked in pictures, and the two branches of hysteresis are drawn."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
import pytest

import continuum_sim as cs
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.load import load
from continuum_sim.plotting.registry import find_figures
from continuum_sim.plotting.spec import FigureOptions
from continuum_sim.plotting.style import styled
from support.small_results import SMALL, Programs

GROWS = "backlog grows"


def runs(*growing: tuple[str, str, float, int]) -> FigureData:
    """Two policies, starts, rates and seeds; `growing` names those whose backlog grows."""
    rows: list[dict[str, Any]] = []
    for policy, start, rate, seed in itertools.product(("lru", "ttl"), ("empty", "loaded"), (0.1, 0.2), (0, 1)):
        jct_s = 100 * rate + seed + (50 if start == "loaded" else 0)
        kind = "grows" if (policy, start, rate, seed) in growing else "steady"
        rows.append(
            {
                "policy": policy,
                "start": start,
                "rate": rate,
                "seed": seed,
                "verdict_kind": kind,
                **{f"jct_{name}_s": jct_s for name in ("mean", "p50", "p90", "p95", "p99")},
                "programs_per_s": rate,
                "output_tokens_per_s": 100 * rate,
                "programs": 20,
            }
        )
    return FigureData(pd.DataFrame(rows), [Programs([row["jct_mean_s"]]) for row in rows])


def drawn(name: str, data: FigureData) -> tuple[pd.DataFrame, list[str], list[tuple[float, float]]]:
    """Return the table of a figure, the words of its legend, and where its hollow markers stand."""
    (figure,) = find_figures([name])
    table = figure.tabulate(data, FigureOptions())
    with styled():
        picture = figure.draw(table)
    words = [text.get_text() for legend in picture.legends for text in legend.get_texts()]
    lines = [line for panel in picture.axes for line in panel.lines if line.get_markerfacecolor() == "white"]
    return table.rows, words, [(x, y) for line in lines for x, y in zip(*line.get_data(), strict=True)]


@pytest.mark.parametrize("name", ["jct-vs-rate", "throughput", "hysteresis"])
def test_nothing_is_marked_where_nothing_grows_or_nobody_knows(name: str) -> None:
    known = runs()
    unknown = FigureData(known.cells.drop(columns="verdict_kind"), [run for _, run in known.rows()])
    for data in (known, unknown):
        rows, words, hollow = drawn(name, data)
        assert "growing" not in rows
        assert GROWS not in words
        assert hollow == []


@pytest.mark.parametrize(("name", "panels"), [("jct-vs-rate", 3), ("throughput", 2)])
def test_a_point_is_hollow_where_a_seed_grows(name: str, panels: int) -> None:
    rows, words, hollow = drawn(name, runs(("ttl", "empty", 0.2, 1)))
    assert words.count(GROWS) == 1
    assert len(hollow) == panels
    assert {x for x, _ in hollow} == {0.2}
    marked = rows[rows["growing"] > 0]
    assert set(marked["policy"]) == {"ttl"}
    assert set(marked["growing"]) == {1}


def test_bars_say_it_beside_the_policy() -> None:
    data = runs(("ttl", "empty", 0.2, 0))
    one_rate = data.where(data.cells["rate"] == 0.2)
    (figure,) = find_figures(["throughput"])
    with styled():
        panel = figure.draw(figure.tabulate(one_rate, FigureOptions())).axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["lru", f"ttl ({GROWS})"]


def test_hysteresis_has_a_line_a_start() -> None:
    rows, words, hollow = drawn("hysteresis", runs(("lru", "loaded", 0.2, 0), ("lru", "loaded", 0.2, 1)))
    assert sorted(words) == sorted(["lru", "ttl", "from empty", "from loaded", GROWS])
    assert hollow == [(0.2, pytest.approx(70.5))]
    value = rows.set_index(["policy", "start", "rate"])["jct_s"]
    assert value["ttl", "empty", 0.1] == pytest.approx(10.5)
    assert value["ttl", "loaded", 0.1] == pytest.approx(60.5)


def test_hysteresis_says_how_to_make_what_it_lacks() -> None:
    data = runs()
    (figure,) = find_figures(["hysteresis"])
    with pytest.raises(MissingData, match=r"needs runs from both starts, as of sweep .* --vary start=empty,loaded"):
        figure.tabulate(data.where(data.cells["start"] == "loaded"), FigureOptions())


def test_runs_know_their_start_and_verdict() -> None:
    settings = {**SMALL, "limit": 5, "max_turns": 2, "programs": 20, "rate": 2.0}
    data = load([cs.run(policy="lru", start=start, **settings) for start in ("empty", "loaded")])  # type: ignore[arg-type]
    assert data.cells["start"].tolist() == ["empty", "loaded"]
    assert data.cells["verdict_kind"].tolist() == ["too_short", "too_short"]
