"""`figures --paper`: the cells run, the published values beside ours."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import continuum_sim as cs
from continuum_sim.plotting.paper import cells
from continuum_sim.plotting.paper.catalogue import PAPER_FIGURES
from continuum_sim.scenarios import scenarios
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


def test_every_figure_names_scenarios_that_exist_or_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {scenario.name for scenario in scenarios()}
    assert known & {name for figure in PAPER_FIGURES.values() for name in figure.scenarios}
    monkeypatch.setattr(cells, "scenarios", lambda: ())
    code, out, err = cli(capsys, "figures", "--paper", "--out", tmp_path, "--only", BARS)
    assert (code, out) == (2, "")
    assert (
        f"no figure could be drawn; {BARS} needs the scenario continuum-fig16-bfcl, which this version has not" in err
    )


def test_quick_takes_the_ends_and_the_middle() -> None:
    assert cells._thinned([1, 2, 3, 4, 5]) == [1, 3, 5]
    assert cells._thinned([1, 2, 3]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--paper --only paper-fig17", "unknown figure 'paper-fig17'; did you mean 'paper-fig1"),
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
