"""`figures --paper`: the cells run, the published values beside ours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import continuum_sim as cs
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.files import draw_table
from continuum_sim.plotting.marks import lasting
from continuum_sim.plotting.paper import cells
from continuum_sim.plotting.paper.catalogue import PAPER_FIGURES
from continuum_sim.scenarios import find_scenario, scenarios
from continuum_sim.traces import find_trace, read_programs, trace_stats
from support.cli import cli

BARS = "paper-fig16-bfcl"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paper")
    result = cs.paper_figures(out, only=[BARS, "paper-fig05"], quick=True, formats=["png"], jobs=1)
    assert [one.name for one in result.drawn] == [BARS, "paper-fig05"]
    return out


def test_published_values_stand_beside_ours(made: Path) -> None:
    table = pd.read_csv(made / f"{BARS}.csv").set_index("policy")
    assert table["published"].to_dict() == {"lru": 310, "program-fifo": 270, "ttl-static": 226, "ttl": 210}
    assert table.loc["ttl", "published_ratio"] == pytest.approx(210 / 310)
    assert table["approximate"].all(), "they were read off a picture"
    frame = cs.load_sweep(made / "cells" / "continuum-fig16-bfcl-quick").frame()
    assert sorted(set(frame["seed"])) == [0, 1]
    assert (frame["gpu"] == "B200").all()
    for policy, own in frame.groupby("policy"):
        assert table.loc[policy, "value"] == pytest.approx(own["jct_mean_s"].mean())
    assert table.loc["lru", "ratio"] == 1


def test_the_caption_says_source_setting_and_choices(made: Path) -> None:
    captions = {one["name"]: one["caption"] for one in json.loads((made / "figures.json").read_text())["figures"]}
    assert "arXiv 2511.02230" in captions[BARS]
    assert "Llama-3.1-8B on B200" in captions[BARS]
    assert "Chosen where the publication is silent: trace: the paper's traces are not public" in captions[BARS]
    assert "two seeds" in captions[BARS]
    assert "Every run is a transient" in captions[BARS]


def test_tails_are_those_of_the_bundled_traces(made: Path) -> None:
    table = pd.read_csv(made / "paper-fig05.csv").set_index("tool")
    assert table["published_share"].to_dict() == {"fetch_url": 0.525, "cd": 0.941}
    stats = trace_stats(read_programs(find_trace("bfcl.jsonl")))
    (fetch,) = (tool for tool in stats.tools if tool.tool == "fetch_url")
    assert table.loc["fetch_url", "share"] == pytest.approx(fetch.slowest_tenth_share)


def test_finished_cells_are_never_run_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(cell: object) -> None:
        raise AssertionError(f"{cell} ran")

    monkeypatch.setattr("continuum_sim.sweeps.run.run_cell", fail)
    before = (made / f"{BARS}.png").read_bytes()
    assert cs.paper_figures(made, only=[BARS], quick=True, formats=["png"], jobs=1).drawn
    assert (made / f"{BARS}.png").read_bytes() == before


def test_steady_state_stands_beside_the_transients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loads that policies sustain come from service curves on the scenario's engine, whatever load it names."""
    small = find_scenario("continuum-fig16-bfcl")
    base = {**small.base, "limit": 4, "max_turns": 2, "kv_blocks": 600, "arrivals": "closed:workers=3"}
    monkeypatch.setattr(cells, "find_scenario", lambda name: replace(small, name=name, base=base))
    figure = PAPER_FIGURES["paper-steady"]
    place = tmp_path / "one"
    one = cells.run_capacity_of(figure.scenarios[0], place, quick=True, jobs=1)
    there = json.loads((place / "capacity.json").read_text())["policies"]
    assert [item["policy"] for item in there] == ["lru", "ttl"]
    table = figure.tabulate(dict.fromkeys(figure.scenarios, one))
    assert list(table.rows["sustained_per_s"]) == 4 * [item["recoverable_per_s"]["value"] for item in there]
    assert table.rows["ratio"].iloc[0] == 1
    assert "Steady state" in table.note
    assert draw_table(figure.draw, table).axes


def test_a_quick_version_leaves_out_what_takes_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("continuum_sim.plotting.paper.draw._chosen", lambda only: [PAPER_FIGURES["paper-steady"]])
    (left,) = cs.paper_figures(tmp_path, quick=True).skipped
    assert left.missing == "too slow for --quick: give --only paper-steady"


def test_captions_tell_transients_from_loads_that_last() -> None:
    steady = pd.DataFrame({"verdict_kind": ["steady", "steady"], "arrivals": "poisson"})
    assert lasting([steady]) == "Every load lasts: a steady state"
    mixed = pd.concat([steady, steady.assign(verdict_kind="grows").head(1)])
    assert lasting([mixed]).startswith("1 of the 3 runs are a transient")
    assert lasting([mixed.assign(arrivals="closed:workers=3")]).startswith("A closed load")


def test_every_figure_names_scenarios_that_exist_or_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {scenario.name for scenario in scenarios()}
    assert known & {name for figure in PAPER_FIGURES.values() for name in figure.scenarios}
    monkeypatch.setattr(cells, "scenarios", lambda: ())
    code, out, err = cli(capsys, "figures", "--paper", "--out", tmp_path, "--only", BARS)
    assert (code, out) == (2, "")
    assert f"no figure could be drawn; {BARS} needs the scenario continuum-fig16-bfcl, which this version lacks" in err


def runs(rows: list[tuple[object, ...]], *columns: str) -> FigureData:
    frame = pd.DataFrame(rows, columns=["policy", "seed", *columns])
    return FigureData(frame, [None] * len(frame))


def test_turns_are_set_beside_the_published_ones_as_ratios() -> None:
    scenario = find_scenario("continuum-fig14-turns")
    times = scenario.grid["repeat_turns"]
    rows = [
        (policy, seed, x, jct_s) for x in times for seed in (0, 1) for policy, jct_s in (("lru", 100 * x), ("ttl", 100))
    ]
    data = runs(rows, "repeat_turns", "jct_mean_s")
    table = PAPER_FIGURES["paper-fig14"].tabulate({scenario.name: data}).rows
    ours, theirs = (table[table["source"] == source] for source in ("simulated", "published"))
    assert ours["times"].tolist() == theirs["times"].tolist() == list(times), "the axis of the paper's picture"
    assert ours["ratio"].tolist() == pytest.approx(list(times))
    assert theirs["ratio"].tolist() == [1.9, 2.1, 2.3, 2.8, 3.7]


def test_gains_are_above_one_where_the_policy_is_better() -> None:
    rows = [
        (policy, seed, 0.1, jct_s, 1 / jct_s, "a.jsonl", "M", "G", 1)
        for seed in (0, 1)
        for policy, jct_s in (("lru", 300.0), ("ttl", 100.0))
    ]
    columns = ("rate", "jct_mean_s", "programs_per_s", "trace", "model", "gpu", "tensor_parallel_size")
    for name, low, high in (("paper-fig08", 1.12, 3.66), ("paper-fig08-throughput", 1.10, 3.22)):
        (row,) = PAPER_FIGURES[name].tabulate({"any": runs(rows, *columns)}).rows.to_dict("records")
        assert (row["baseline"], row["workload"]) == ("lru", "a, G\nM")
        assert row["ratio"] == pytest.approx(3)
        assert (row["published_low"], row["published_high"]) == (low, high)


def test_routers_are_compared_with_the_published_system() -> None:
    rows = [
        (policy, 0, router, jct_s)
        for router, policy, jct_s in (("prefix-aware", "lru", 300.0), ("session-affinity", "ttl", 100.0))
    ]
    data = runs(rows, "router", "jct_mean_s")
    table = PAPER_FIGURES["paper-fig12"].tabulate({"continuum-fig12-cluster": data}).rows
    assert table[["router", "policy", "ratio"]].to_numpy().tolist() == [
        ["prefix-aware", "lru", pytest.approx(3)],
        ["session-affinity", "ttl", 1],
    ]
    assert set(table["published_largest"]) == {8.18}
    without = data.where(data.cells["policy"] == "lru")
    with pytest.raises(MissingData, match="needs ttl behind session-affinity"):
        PAPER_FIGURES["paper-fig12"].tabulate({"continuum-fig12-cluster": without})


@pytest.mark.parametrize("name", ["paper-fig09", "paper-fig11", "paper-fig13-chunk", "paper-fig13-batch"])
def test_a_picture_without_published_values_says_so(name: str) -> None:
    figure = PAPER_FIGURES[name]
    (scenario,) = figure.scenarios
    (axis,) = find_scenario(scenario).grid.keys() - {"policy"}
    rows = [(policy, 0, x, 10.0, 20.0, 30.0) for policy in ("lru", "ttl") for x in find_scenario(scenario).grid[axis]]
    table = figure.tabulate({scenario: runs(rows, axis, "jct_mean_s", "jct_p90_s", "jct_p95_s")})
    assert "Ours alone: the paper shows this as a picture without values" in table.note
    titles = [panel.get_title(loc="left") for panel in draw_table(figure.draw, table).axes]
    assert titles[0] == "simulated; published without values"


def test_each_ssd_has_a_picture_of_its_own() -> None:
    def tabulate(size_gb: int) -> pd.DataFrame:
        return PAPER_FIGURES[f"paper-fig15-{size_gb}gb"].tabulate({"continuum-fig15-ssd": both}).rows

    rates = find_scenario("continuum-fig15-ssd").grid["rate"]
    rows = [(p, 0, r, 10.0, 20.0, 30.0) for _ in (400, 800) for p in ("lru", "ttl") for r in rates]
    both = runs(rows, "rate", "jct_mean_s", "jct_p90_s", "jct_p95_s")
    large = [False] * (len(rows) // 2) + [True] * (len(rows) // 2)
    both.cells["ssd_gb"] = [800.0 if is_large else 400.0 for is_large in large]
    both.cells.loc[large, "jct_mean_s"] = 5.0
    assert set(tabulate(400).query("statistic == 'mean'")["jct_s"]) == {10.0}
    assert set(tabulate(800).query("statistic == 'mean'")["jct_s"]) == {5.0}


def test_every_scenario_of_the_paper_is_drawn() -> None:
    ours = {name for figure in PAPER_FIGURES.values() for name in figure.scenarios}
    assert ours == {scenario.name for scenario in scenarios() if scenario.published}


def test_quick_takes_the_ends_and_the_middle() -> None:
    assert cells._thinned([1, 2, 3, 4, 5]) == [1, 3, 5]
    assert cells._thinned([1, 2, 3]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--paper --only paper-fig17", "unknown figure 'paper-fig17' of the paper, did you mean 'paper-fig1"),
        ("--paper results", "--paper runs its own cells"),
        ("--paper --where rate=1", "--paper runs its own cells"),
        ("--paper --format gif", "unknown format 'gif'"),
        ("--quick results", "--quick is for --paper"),
    ],
)
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: str, complaint: str
) -> None:
    code, out, err = cli(capsys, "figures", *arguments.split(), "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err
    assert not (tmp_path / "out").exists()
