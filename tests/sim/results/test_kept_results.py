"""Results of earlier versions open in this one: a small directory of each kind is kept for every earlier layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import continuum_sim as cs
from support.cli import printed, refused

KEPT = Path(__file__).parents[2] / "kept"
VERSIONS = sorted(path.name for path in KEPT.iterdir())


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest) -> Path:
    return KEPT / str(request.param)


def test_there_is_something_to_open() -> None:
    assert "e87d62c" in VERSIONS


def test_a_run(kept: Path) -> None:
    run = cs.load_run(kept / "run")
    assert run.summary.turns == len(run.turns) == 16
    assert run.summary.jct_s.mean == pytest.approx(run.programs["jct_s"].mean())
    assert run.decisions is not None
    assert {"pin", "admit"} <= set(run.decisions["event"])
    assert len(run.timeline)


def test_a_run_is_repeated_as_its_version_ran_it(kept: Path) -> None:
    then, again = cs.load_run(kept / "run").summary, cs.rerun(kept / "run").summary
    assert (again.jct_s.mean, again.steps) == (then.jct_s.mean, then.steps)
    assert cs.rerun(kept / "run", async_scheduling=True).summary.jct_s.mean > then.jct_s.mean


def test_a_sweep(kept: Path) -> None:
    frame = cs.load_sweep(kept / "sweep").frame()
    assert sorted(zip(frame["policy"], frame["rate_per_s"], strict=True)) == [
        ("lru", 0.5),
        ("lru", 1.0),
        ("ttl", 0.5),
        ("ttl", 1.0),
    ]


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_a_report(kept: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "report", kept / kind, "--no-pictures", "--out", tmp_path / "page.html")
    assert "ttl" in (tmp_path / "page.html").read_text("utf-8")


def test_what_is_made_of_a_run(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "timeline", kept / "run", "--perfetto", tmp_path / "timeline.json")
    printed(capsys, "trace", "export", kept / "run", "--to", "continuum", "--out", tmp_path / "logs")
    assert (tmp_path / "timeline.json").stat().st_size > 1000
    assert (tmp_path / "logs" / "results.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "figure"), [("run", "kv-occupancy"), ("comparison", "jct-cdf"), ("sweep", "jct-vs-rate")]
)
def test_a_figure(kept: Path, kind: str, figure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "figures", kept / kind, "--only", figure, "--format", "png", "--out", tmp_path / "figures")
    assert "drawn" in said


@pytest.mark.parametrize("kind", ["run", "comparison", "sweep"])
@pytest.mark.parametrize("version", [2, "1", True])
def test_a_later_layout_is_refused_by_name(
    kept: Path, kind: str, version: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = shutil.copytree(kept / kind, tmp_path / kind)
    manifest = json.loads((place / "manifest.json").read_text("utf-8"))
    (place / "manifest.json").write_text(json.dumps({**manifest, "schema_version": version}))
    expected = f"schema_version is {version!r}, and this version of continuum-sim reads up to 1; open it with"
    if kind == "sweep":
        with pytest.raises(cs.ConfigError, match=expected):
            cs.load_sweep(place)
    else:
        assert expected in refused(capsys, "report", place)


def test_what_is_written_says_its_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "run", "--limit", 1, "--max-turns", 1, "--policy", "lru", "--out", tmp_path / "r")
    assert json.loads((tmp_path / "r" / "manifest.json").read_text("utf-8"))["schema_version"] == 1
