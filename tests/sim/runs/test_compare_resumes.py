"""A stopped comparison keeps its finished runs, and the same command resumes from them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
import continuum_sim.runs.comparison
from continuum_sim.results.unfinished import COMPARISON
from support.cli import cli, printed, refused

FEW = ("--limit", "4", "--max-turns", "4", "--arrivals", "poisson:rate=1", "--kv-blocks", "1200")
COMMAND = ("compare", *FEW, "--policies", "lru,ttl", "--seeds", "0-1")
SAME = ("programs.parquet", "turns.parquet", "timeline.parquet")


def content(directory: Path) -> dict[str, object]:
    """Return everything in a comparison's directory except dates and wall-clock times."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(directory))
        if path.suffix == ".json":
            text = re.sub(r'"(wall_s|created_at)": [^\n]*', "", path.read_text())
            found[name] = text.replace(str(directory), "OUT")
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The contents of a comparison's directory if nothing stops it."""
    out = tmp_path_factory.mktemp("whole") / "c"
    settings: dict[str, Any] = {"limit": 4, "max_turns": 4, "arrivals": "poisson:rate=1", "kv_blocks": 1200}
    cs.compare(["lru", "ttl"], [0, 1], out=out, **settings)
    return content(out)


@pytest.fixture
def stopped_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that makes a signal arrive in the run after the first `runs`."""

    def arrange(runs: int, number: int = signal.SIGINT) -> None:
        usual, calls = continuum_sim.runs.comparison.execute, []

        def struck(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == runs + 1:
                signal.raise_signal(number)
            return usual(*args, **kwargs)

        monkeypatch.setattr(continuum_sim.runs.comparison, "execute", struck)

    return arrange


def alike(out: Path, whole: dict[str, object]) -> None:
    """Check that results equal those of an uninterrupted comparison, and the manifest too except its command."""
    found = content(out)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        if not name.endswith("manifest.json"):
            assert found[name] == value, name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_same_command_goes_on(
    number: int,
    code: int,
    whole: dict[str, object],
    stopped_after: Callable[[int, int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "new" / "c"
    with monkeypatch.context():
        stopped_after(2, number)
        ended, shown, err = cli(capsys, *COMMAND, "--out", out)
    monkeypatch.undo()
    assert (ended, shown) == (code, "")
    kept = f"finished runs are in {out}; the same command goes on from there"
    assert re.fullmatch(rf"error: interrupted after 2 of 4 runs; {re.escape(kept)}\n", err)
    assert not (out / COMPARISON).exists()
    times = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*.parquet")}
    assert {path.parent.name for path in times} == {"lru-seed0", "lru-seed1"}

    shown = printed(capsys, *COMMAND, "--out", out)
    assert all(path.stat().st_mtime_ns == then for path, then in times.items()), "a finished run was run again"
    alike(out, whole)
    fresh = printed(capsys, *COMMAND)
    assert shown == fresh


def test_it_says_how_far_it_was_before(
    stopped_after: Callable[[int, int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for before in (1, 1):
        stopped_after(before, signal.SIGINT)
        err = cli(capsys, *COMMAND, "--out", tmp_path / "c")[2]
        monkeypatch.undo()
    assert err.startswith("error: interrupted after 2 of 4 runs, 1 of them before; finished runs are in ")


def test_nothing_stays_where_no_run_was_finished(
    stopped_after: Callable[[int, int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_after(0, signal.SIGINT)
    err = cli(capsys, *COMMAND, "--out", tmp_path / "new" / "c")[2]
    assert err == "error: interrupted after 0 of 4 runs; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unfinished(
    stopped_after: Callable[[int, int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A comparison with one of four runs done."""
    stopped_after(1, signal.SIGINT)
    cli(capsys, *COMMAND, "--out", tmp_path / "c")
    monkeypatch.undo()
    assert len(list((tmp_path / "c" / "runs").iterdir())) == 1
    return tmp_path / "c"


def test_what_reads_results_says_how_to_go_on(
    unfinished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for command in (("report", unfinished), ("figures", unfinished)):
        err = refused(capsys, *command)
        assert "is an unfinished comparison, 1 of 4 runs are done; the same command goes on from there: " in err
        assert (
            f"continuum-sim compare --limit 4 {' '.join(FEW[2:])} --policies lru,ttl --seeds 0-1 --out {unfinished}"
            in err
        )
    printed(capsys, "report", unfinished / "runs" / "lru-seed0", "--no-pictures", "--out", tmp_path / "page.html")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--policies", "lru,fcfs"), "policies lru,ttl there, lru,fcfs here"),
        (("--seeds", "0-2"), "seeds 0,1 there, 0,1,2 here"),
        (("--baseline", "ttl"), "baseline lru there, ttl here"),
        (("--kv-blocks", "1300"), "kv_blocks 1200 there, 1300 here"),
        (("--trace", "bfcl", "--arrivals", "burst"), "trace swebench.jsonl there, bfcl here; arrivals poisson:rate=1"),
    ],
)
def test_other_settings_are_refused_by_name(
    change: tuple[str, ...], said: str, unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(unfinished)
    err = refused(capsys, *COMMAND, *change, "--out", unfinished)
    assert f"holds an unfinished comparison with other settings: {said}" in err
    assert "start over with --force" in err
    assert content(unfinished) == before


def test_force_starts_anew(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, *COMMAND, "--policies", "lru,fcfs", "--out", unfinished, "--force")
    assert sorted(path.name for path in (unfinished / "runs").iterdir()) == [
        f"{policy}-seed{seed}" for policy in ("fcfs", "lru") for seed in (0, 1)
    ]
    assert "holds earlier results" in refused(capsys, *COMMAND, "--out", unfinished)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (0, "interrupted after 0 of 4 runs; nothing was written; the earlier results in OUT are gone (--force)"),
        (
            1,
            "interrupted after 1 of 4 runs; finished runs are in OUT; "
            "the same command without --force goes on from there",
        ),
    ],
)
def test_it_says_what_force_has_done(
    runs: int,
    said: str,
    unfinished: Path,
    stopped_after: Callable[[int, int], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped_after(runs, signal.SIGINT)
    err = cli(capsys, *COMMAND, "--out", unfinished, "--force")[2]
    monkeypatch.undo()
    assert err == f"error: {said.replace('OUT', str(unfinished))}\n"
    assert unfinished.exists() == bool(runs)
    if runs:
        assert refused(capsys, "report", unfinished).endswith(f" --seeds 0-1 --out {unfinished}\n")  # no --force


@pytest.mark.parametrize(("entry", "value"), [("commit", "other"), ("versions", {"continuum-sim": "0.0.1"})])
def test_another_version_is_refused(
    entry: str, value: object, unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = unfinished / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), entry: value}))
    assert "holds an unfinished comparison of another version" in refused(capsys, *COMMAND, "--out", unfinished)


def test_a_trace_that_has_changed_is_another_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path(str(cs.traces.find_trace("swebench"))).read_text().splitlines(keepends=True)
    trace = tmp_path / "t.jsonl"
    trace.write_text("".join(lines[:5]))
    command = (*COMMAND, "--trace", trace, "--out", tmp_path / "c")
    printed(capsys, *command)
    (tmp_path / "c" / COMPARISON).unlink()
    trace.write_text("".join(lines[:6]))
    assert "the trace's content has changed" in refused(capsys, *command)


@pytest.mark.parametrize("harm", ["no table", "half a table", "no summary", "half a summary", "empty"])
def test_a_run_that_is_not_whole_is_made_again(
    harm: str, whole: dict[str, object], unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unfinished / "runs" / "lru-seed0"
    if harm == "empty":
        shutil.rmtree(run)
        run.mkdir()
    else:
        path = run / ("turns.parquet" if "table" in harm else "summary.json")
        path.write_bytes(path.read_bytes()[:40]) if "half" in harm else path.unlink()
    leftover = unfinished / "runs" / ".ttl-seed1.new-0123456789ab.tmp"
    leftover.mkdir()
    printed(capsys, *COMMAND, "--out", unfinished)
    alike(unfinished, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")
def test_one_process_at_a_time(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    lock = os.open(unfinished, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    for force in ((), ("--force",)):
        assert "is in use by another comparison" in refused(capsys, *COMMAND, "--out", unfinished, *force)
    os.close(lock)
    assert cli(capsys, *COMMAND, "--out", unfinished)[0] == 0


def test_a_run_keeps_the_command_of_its_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, *COMMAND, "--jobs", "1", "--out", tmp_path / "c")
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "c").rglob("manifest.json")]
    assert len(manifests) == 5
    assert {tuple(manifest["command"][:2]) for manifest in manifests} == {("continuum-sim", "compare")}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of Unix")
@pytest.mark.parametrize(
    ("number", "jobs"), [("SIGKILL", 2), pytest.param("SIGTERM", 1, marks=pytest.mark.repeats(share=3))]
)
def test_a_comparison_that_was_killed_ends_as_if_it_had_not_been(number: str, jobs: int, tmp_path: Path) -> None:
    more = ("--limit", "12", "--policies", "lru,ttl", "--seeds", "0-2", "--jobs", str(jobs))
    command = [sys.executable, "-m", "continuum_sim", "compare", *more, "--out"]
    subprocess.run([*command, "whole"], cwd=tmp_path, check=True, capture_output=True)
    out, ended = tmp_path / "out", []
    for wanted in (1, 4):
        process = subprocess.Popen(
            [*command, "out"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        while process.poll() is None and len(list((out / "runs").glob("[!.]*"))) < wanted:
            time.sleep(0.01)
        os.killpg(process.pid, getattr(signal, number))
        process.communicate(timeout=60)
        ended.append(process.returncode)
    subprocess.run([*command, "out"], cwd=tmp_path, check=True, capture_output=True)
    assert all(ended)
    alike(out, content(tmp_path / "whole"))
    assert list(out.rglob(".*")) == []
