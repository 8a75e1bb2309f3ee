"""The same runs give the same numbers wherever they are shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import continuum_sim as cs
from continuum_sim.results.view import Table
from continuum_sim.results.view.sweep import sweep_rows
from support.small_results import SMALL
from support.views import on_terminal

SEEDS = range(6)
LOADS: dict[str, dict[str, Any]] = {
    "drawn": {**SMALL, "programs": 36, "arrivals": "poisson:rate=2"},
    "replayed": {**SMALL, "arrivals": "poisson:rate=2"},
    "timed": {**SMALL, "duration": 12.0, "arrivals": "poisson:rate=2"},
}


@pytest.fixture(scope="module", params=list(LOADS))
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[cs.CompareResult, cs.SweepResult, Path]:
    out = tmp_path_factory.mktemp(str(request.param))
    compared = cs.compare(["lru", "fcfs"], SEEDS, out=out / "compared", **LOADS[request.param])
    swept = cs.sweep(["lru", "fcfs"], seeds=SEEDS, out=out / "swept", jobs=1, **LOADS[request.param])
    return compared, swept, out


def figure_table(results: Path, name: str) -> pd.DataFrame:
    """Return the table of a figure, as written next to the picture."""
    cs.figures(results, only=[name], out=results / "figures", formats=["svg"])
    return pd.read_csv(results / "figures" / f"{name}.csv")


def test_a_ratio_is_one_number(results: tuple[cs.CompareResult, cs.SweepResult, Path]) -> None:
    compared, swept, out = results
    of_sweep = swept.differences(baseline="lru").set_index("metric")
    tables = [figure_table(out / place, "ablation") for place in ("compared", "swept")]
    for statistic in ("mean", "p95"):
        (ours,) = (item for item in compared.paired if item.metric == statistic)
        wanted = pytest.approx((ours.ratio, ours.ratio_low, ours.ratio_high), rel=1e-12)
        assert tuple(of_sweep.loc[statistic, ["ratio", "ratio_low", "ratio_high"]]) == wanted
        assert of_sweep.loc[statistic, "verdict"] == ours.verdict != "too few seeds"
        for table in tables:
            (row,) = table.query("policy == 'fcfs' and statistic == @statistic").to_dict("records")
            assert (row["ratio"], row["low"], row["high"]) == pytest.approx(tuple(wanted.expected), rel=1e-9)
        written = json.loads((out / "compared" / "comparison.json").read_text())["differences"]
        (kept,) = (item for item in written if item["metric"] == statistic)
        assert (kept["ratio"], kept["verdict"]) == (ours.ratio, ours.verdict)


def test_the_smallest_effect_of_a_sweep_is_a_choice(results: tuple[cs.CompareResult, cs.SweepResult, Path]) -> None:
    _, swept, _ = results
    assert set(swept.differences(baseline="lru", min_effect=0.99)["verdict"]) <= {"equal", "within noise"}


def test_a_jct_is_one_number(results: tuple[cs.CompareResult, cs.SweepResult, Path]) -> None:
    compared, swept, out = results
    of_sweep = {row["policy"]: row for row in sweep_rows(swept)}
    table = figure_table(out / "compared", "time-breakdown").set_index("policy")
    for row in compared.rows:
        for name in ("mean", "p50", "p90", "p95", "p99"):
            assert of_sweep[row.policy][f"jct_{name}_s"] == pytest.approx(getattr(row, f"jct_{name}_s"), rel=1e-12)
        bounds = (row.jct_mean_low_s, row.jct_mean_high_s)
        assert row.jct_mean_low_s < row.jct_mean_s < row.jct_mean_high_s
        wanted = pytest.approx(bounds, rel=1e-9)
        assert (of_sweep[row.policy]["jct_mean_low_s"], of_sweep[row.policy]["jct_mean_high_s"]) == wanted
        assert tuple(table.loc[row.policy, ["jct_low_s", "jct_high_s"]]) == wanted


def test_the_page_shows_what_the_terminal_does(results: tuple[cs.CompareResult, cs.SweepResult, Path]) -> None:
    compared, _, out = results
    (shown,) = (block for block in compared.view().blocks if isinstance(block, Table) and "against" in block.title)
    page = cs.write_report(out / "compared", pictures=False).read_text("utf-8")
    for row in shown.rows:
        for cell in row:
            assert cell in page
    said = re.sub(r"\s+", " ", on_terminal(compared.view(), 200))
    drawn = compared.summaries[0].population == "drawn"
    assert ("each of 6 runs drew its own programs" if drawn else "6 runs replay the same programs") in said
    assert shown.note in page
