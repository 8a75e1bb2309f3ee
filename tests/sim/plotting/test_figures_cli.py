"""`continuum-sim figures`, as a user types it; and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim import names
from continuum_sim.errors import ConfigError
from continuum_sim.names import Registry
from continuum_sim.plotting import FigureSpec, registry
from support.cli import cli

GALLERY = "continuum_sim.plotting.gallery"


def test_a_line_a_figure_drawn_or_skipped(
    capsys: pytest.CaptureFixture[str], comparisons: Path, tmp_path: Path
) -> None:
    some = ("--only", "time-breakdown,dram-size", "--format", "png")
    code, out, err = cli(capsys, "figures", comparisons, "--out", tmp_path, *some)
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines] == [["time-breakdown", "drawn"], ["dram-size", "skipped"]]
    assert "needs runs at two values of the size of the DRAM tier (dram_gb) or more" in lines[1]
    assert err == f"wrote {tmp_path}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "figures.json",
        "time-breakdown.csv",
        "time-breakdown.png",
    ]


def test_json_says_the_same(capsys: pytest.CaptureFixture[str], comparisons: Path, tmp_path: Path) -> None:
    code, out, _ = cli(
        capsys, "figures", comparisons, "--out", tmp_path, "--only", "ablation", "--format", "pdf", "--json"
    )
    assert code == 0
    (figure,) = json.loads(out)["figures"]
    assert figure["files"] == [str(tmp_path / "ablation.pdf"), str(tmp_path / "ablation.csv")]
    assert figure["caption"].startswith("Job completion time of every policy")


def test_runs_can_be_chosen(capsys: pytest.CaptureFixture[str], comparisons: Path, tmp_path: Path) -> None:
    conditions = ("--where", "rate=2.0", "--where", "policy=lru", "--where", "policy=fcfs")
    code, *_ = cli(
        capsys, "figures", comparisons, "--out", tmp_path, *conditions, "--only", "time-breakdown", "--format", "png"
    )
    assert code == 0
    table = (tmp_path / "time-breakdown.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["policy", "fcfs", "lru"]
    caption = json.loads((tmp_path / "figures.json").read_text())["figures"][0]["caption"]
    assert "at 2 programs/s" in caption


def test_the_list_says_what_each_figure_needs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli(capsys, "figures", "--list", "--json")
    assert code == 0
    listed = json.loads(out)
    assert [one["figure"] for one in listed[:2]] == ["jct-vs-rate", "jct-cdf"]
    assert all(one["needs"] and one["shows"] for one in listed)
    assert "jct-vs-rate" in cli(capsys, "figures", "--list")[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "nothing to draw: give a directory of results"),
        ("{tmp}/nowhere", "nowhere does not exist"),
        ("{tmp}/file", "file is a file, expected a directory of results"),
        (
            "{tmp}/empty",
            "empty holds no results, expected a directory written by run, compare, sweep or capacity --out",
        ),
        ("{tmp}/torn", "torn is not a run directory"),
        ("{tmp}/listless", "missing required field `runs`"),
        ("{data} --only jct-vs-rte", "unknown figure 'jct-vs-rte', did you mean 'jct-vs-rate'?"),
        ("{data} --format gif", "unknown format 'gif', expected some of pdf, png, svg"),
        ("{data} --where rate=7", "no run has rate = 7; there are 1.0, 2.0, 4.0"),
        ("{data} --where speed=7", "no setting 'speed' to choose by; there are policy, seed"),
        ("{data} --where rate", "'rate' is not of the form name=value"),
        ("{data} --baseline oracle", "baseline 'oracle' is not one of the policies run: fcfs, lru"),
        ("{data} --only dram-size", "no figure could be drawn; dram-size needs runs at two values"),
        ("{data} {data}", "policy 'fcfs', seed 0 appears twice with the same settings"),
        ("{data}/rate-1 {data}/rate-2", "nowhere to write to: give out=… (--out DIR)"),
        ("{data} --only ablation --out {tmp}/file", "file: File exists"),
    ],
)
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], comparisons: Path, tmp_path: Path, arguments: str, complaint: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, file, text in (("torn", "summary.json", "{"), ("listless", "comparison.json", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    (tmp_path / "listless" / "manifest.json").write_text("{}")
    given = [word.format(tmp=tmp_path, data=comparisons) for word in arguments.split()]
    if "{data}" in arguments and "--out" not in arguments and "{data}/" not in arguments:
        given += ["--out", str(tmp_path / "out")]
    code, out, err = cli(capsys, "figures", *given)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert complaint in err
    assert not (tmp_path / "out").exists()


def test_others_can_ship_figures(one_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_figure_of_theirs.py").write_text(
        "from continuum_sim.plotting.gallery.jct_cdf import draw, tabulate\n"
        "from continuum_sim.plotting import FigureSpec\n"
        "FIGURE = FigureSpec('theirs', 'Their curve', 'anything', tabulate, draw)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    figures = Registry("figure", error=ConfigError, kind=FigureSpec, folder=GALLERY, group=registry.FIGURE_ENTRY_POINTS)
    point = EntryPoint("theirs", "a_figure_of_theirs:FIGURE", registry.FIGURE_ENTRY_POINTS)
    monkeypatch.setattr(names, "entry_points", lambda group: [point])
    monkeypatch.setattr(registry, "FIGURES", figures)
    assert list(registry.all_figures())[-1] == "theirs"
    assert cs.figure("theirs", one_run).axes


def test_figures_are_listed_in_their_own_order() -> None:
    ours = [figure.name for figure in registry.all_figures().values() if figure.place < FigureSpec.place]
    assert ours[0] == "jct-vs-rate"
    assert ours != sorted(ours)


def test_nothing_imports_matplotlib_before_it_draws() -> None:
    code = "import sys, continuum_sim.cli, continuum_sim.plotting.style; print('matplotlib' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
