"""`diff` says what differs between two runs, and where they part."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.results.difference import EVENTS, Parting, RunDifference
from support.cli import printed, refused

LOAD: dict[str, Any] = {"limit": 6, "max_turns": 8, "arrivals": "burst", "kv_blocks": 2000}
KEPT = Path(__file__).parents[2] / "kept" / "e87d62c"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: two that differ in the policy, and a third one cut shorter."""
    place = tmp_path_factory.mktemp("runs")
    for name, more in {"lru": {}, "fcfs": {"policy": "fcfs"}, "short": {"max_turns": 7}}.items():
        cs.run(**{"policy": "lru", **LOAD, **more}, out=place / name)
    return place


def found(a: Path, b: Path) -> RunDifference:
    difference = cs.diff(a, b)
    assert isinstance(difference, RunDifference)
    return difference


def naive_parting(a: cs.RunResult, b: cs.RunResult) -> Parting | None:
    """Return the first moment at which two runs differ, turn by turn."""
    times = [{(row["program"], row["turn"]): row for row in run.turns.to_dict("records")} for run in (a, b)]
    moments = []
    for key in times[0] | times[1]:
        for order, event in enumerate(EVENTS):
            x, y = (side[key][event] if key in side else None for side in times)
            if x is None or y is None or not math.isclose(x, y, rel_tol=1e-9):
                moments.append((min(t for t in (x, y) if t is not None), order, key, event, x, y))
    if not moments:
        return None
    time_s, _, (program, turn), event, x, y = min(moments, key=lambda moment: moment[:3])
    return Parting(time_s, program, turn, event, x, y)


@pytest.mark.parametrize("other", ["fcfs", "short"])
def test_two_runs(runs: Path, other: str) -> None:
    difference = found(runs / "lru", runs / other)
    a, b = (cs.load_run(runs / name) for name in ("lru", other))
    setting = ("policy", "lru", "fcfs") if other == "fcfs" else ("max_turns", 8, 7)
    assert [(one.name, one.a, one.b) for one in difference.settings] == [setting]
    assert difference.versions == []
    assert not difference.identical
    metrics = {one.name: one for one in difference.metrics}
    mean = metrics["jct_s.mean"]
    assert (mean.a, mean.b) == (a.summary.jct_s.mean, b.summary.jct_s.mean)
    assert mean.difference == b.summary.jct_s.mean - a.summary.jct_s.mean
    assert mean.ratio == pytest.approx(b.summary.jct_s.mean / a.summary.jct_s.mean)
    assert metrics["prefill.computed_tokens"].b == b.summary.prefill.computed_tokens
    assert {"wall_s", "programs", "kv.blocks"}.isdisjoint(metrics)
    by_name = [run.programs.set_index("program")["jct_s"].sort_index().to_numpy() for run in (a, b)]
    assert difference.jct is not None
    assert difference.jct.mean_difference_s == pytest.approx((by_name[1] - by_name[0]).mean())
    assert difference.jct.faster == (by_name[1] < by_name[0] * (1 - 1e-9)).sum()
    assert difference.jct.faster + difference.jct.slower + difference.jct.equal == 6
    parting, naive = difference.parting, naive_parting(a, b)
    assert parting is not None
    assert naive is not None
    assert (parting.time_s, parting.event) == (naive.time_s, naive.event)
    turned = found(runs / other, runs / "lru")
    assert turned.parting is not None
    assert (turned.parting.time_s, turned.parting.a_s) == (parting.time_s, parting.b_s)


def test_what_the_command_shows(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "diff", runs / "lru", runs / "fcfs")
    lines = shown.splitlines()
    assert lines[:2] == [f"A: {runs / 'lru'}", f"B: {runs / 'fcfs'}"]
    assert any(line.split() == ["policy", "lru", "fcfs"] for line in lines)
    assert any(line.startswith("jct_s.mean ") for line in lines)
    assert sum(line.split()[:6] == ["JCT", "of", "the", "same", "6", "programs:"] for line in lines) == 1
    assert sum(line.startswith("parting  They part ways at ") for line in lines) == 1
    assert "identical" not in shown
    told = json.loads(printed(capsys, "diff", runs / "lru", runs / "fcfs", "--json"))
    assert told["settings"] == [{"name": "policy", "a": "lru", "b": "fcfs"}]
    never = printed(capsys, "diff", runs / "lru", runs / "short")
    assert "in A, and never in B" in never


def test_the_same_run_again_is_identical(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cs.rerun(runs / "lru", out=tmp_path / "again")
    difference = found(runs / "lru", tmp_path / "again")
    assert (difference.identical, difference.settings, difference.metrics) == (True, [], [])
    shown = printed(capsys, "diff", runs / "lru", tmp_path / "again")
    assert "Settings and versions are identical." in shown
    assert "The results are identical." in shown


def test_what_names_stand_for_and_versions_are_told(runs: Path, tmp_path: Path) -> None:
    other = shutil.copytree(runs / "lru", tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["gpu"]["memory_bytes"] += 1
    manifest["versions"]["numpy"] = "1.0"
    manifest["commit"] = "f" * 40
    (other / "manifest.json").write_text(json.dumps(manifest))
    difference = found(runs / "lru", other)
    assert [one.name for one in difference.settings] == ["gpu.memory_bytes"]
    assert [one.name for one in difference.versions] == ["numpy", "commit"]
    assert difference.identical


def test_runs_of_other_traces_have_nothing_to_pair(runs: Path, tmp_path: Path) -> None:
    cs.run("bfcl", "lru", **{**LOAD, "limit": 6}, out=tmp_path / "bfcl")
    difference = found(runs / "lru", tmp_path / "bfcl")
    assert [one.name for one in difference.settings] == ["trace", "trace.sha256"]
    assert (difference.jct, difference.parting) == (None, None)
    assert difference.metrics


def test_a_run_of_an_earlier_version(runs: Path) -> None:
    difference = found(runs / "lru", KEPT / "run")
    settings = {one.name: (one.a, one.b) for one in difference.settings}
    assert settings["policy"] == ("lru", "ttl-static:ttl=3.0")
    assert settings["arrivals"] == ("burst", "poisson:rate=1")
    assert settings["engine_config.num_gpu_blocks"] == (2000, 1200)
    assert "model" not in settings
    assert not any(name.startswith("policy.") for name in settings)


def test_tables_that_are_gone_are_not_compared(runs: Path, tmp_path: Path) -> None:
    other = shutil.copytree(runs / "fcfs", tmp_path / "other")
    for table in other.glob("*.parquet"):
        table.unlink()
    difference = found(runs / "lru", other)
    assert (difference.jct, difference.parting) == (None, None)
    assert difference.metrics


def test_two_comparisons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for blocks in (2000, 3000):
        cs.compare(["lru", "ttl"], [0, 1], **{**LOAD, "kv_blocks": blocks}, out=tmp_path / str(blocks))
    told = json.loads(printed(capsys, "diff", tmp_path / "2000", tmp_path / "3000", "--json"))
    assert list(told["runs"]) == [f"runs/{policy}-seed{seed}" for policy in ("lru", "ttl") for seed in (0, 1)]
    assert not told["identical"]
    one = told["runs"]["runs/lru-seed1"]
    assert one["settings"] == [{"name": "kv_blocks", "a": 2000, "b": 3000}]
    shown = printed(capsys, "diff", tmp_path / "2000", tmp_path / "3000")
    assert sum(line.split() == ["kv_blocks", "2000", "3000"] for line in shown.splitlines()) == 1
    assert sum(line.startswith("runs/") for line in shown.splitlines()) == 4
    same = printed(capsys, "diff", tmp_path / "2000", tmp_path / "2000")
    assert "The results of all runs are identical." in same
    assert f"such as {tmp_path / '2000'}/runs/…" in refused(capsys, "diff", tmp_path / "2000", KEPT / "run")
    cs.compare(["lru"], [0], **LOAD, out=tmp_path / "less")
    said = refused(capsys, "diff", tmp_path / "2000", tmp_path / "less")
    assert "compare different policies or seeds (only one has runs/lru-seed1)" in said
    (tmp_path / "2000" / "comparison.json").unlink()
    assert "is an unfinished comparison, 4 of 4 runs are done" in refused(
        capsys, "diff", tmp_path / "2000", tmp_path / "3000"
    )


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_width_shows_all_of_it(
    width: int, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = printed(capsys, "diff", runs / "lru", runs / "fcfs")
    for metric in found(runs / "lru", runs / "fcfs").metrics:
        assert metric.name in shown or metric.name.startswith("time_share.")


def test_what_is_no_run_is_refused(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a run directory" in refused(capsys, "diff", runs / "lru", tmp_path)
