"""Processes end with their parent, however the parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from joblib import Parallel, delayed

from continuum_sim.processes import local_workers, start_workers

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")


def members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = place.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(of) == session and state != "Z":
            found.append(int(place.parent.name))
    return found


def end(session: int) -> None:
    for pid in members(session):
        os.kill(pid, signal.SIGKILL)


def used_s(pid: int) -> float:
    """Processor time a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return done


ENGINE = """
import multiprocessing, os, signal, time
from continuum_sim.validate.engines.timed_scheduler import make_timed_scheduler

def core():
    try:
        make_timed_scheduler(None)  # the environment has no settings, so it gets no further here
    except KeyError:
        print("up", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=core).start()
    time.sleep(600)
"""


def test_an_engine_ends_with_a_validation_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text(ENGINE)
    command = [sys.executable, str(tmp_path / "engine.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            assert len(members(process.pid)) >= 2
            process.kill()
            process.wait(10)
            assert within(10, lambda: not members(process.pid))
        finally:
            end(process.pid)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("compare", "--policies", "fcfs,lru,ttl", "--out", "out"),
        ("sweep", "--policies", "fcfs,lru,ttl", "--rates", "0.1", "--out", "out"),
        ("sweep", "tune", "ttl-static", "--rate", "0.1"),
    ],
    ids=["compare", "sweep", "tune"],
)
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path, command: tuple[str, ...]) -> None:
    # Stepwise: takes minutes if nobody ends it.
    slow = ("--engine", "stepwise", "--kv-blocks", "6000", "--max-model-len", "70000", "--jobs", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "continuum_sim", *command, *slow],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def working() -> bool:
        return sum(used_s(pid) > 3 for pid in members(process.pid) if pid != process.pid) >= 2

    try:
        assert within(120, lambda: working() or process.poll() is not None)
        assert process.poll() is None
        process.kill()
        process.wait(10)
        assert within(10, lambda: not members(process.pid))
    finally:
        end(process.pid)


def test_calls_that_are_left_undone_are_not_counted_aloud() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with local_workers():
            calls = (delayed(time.sleep)(delay_s) for delay_s in (0, 5, 5, 5))
            outcomes = start_workers(Parallel(n_jobs=2, batch_size=1, return_as="generator_unordered"), calls)
            assert next(outcomes) is None
            outcomes.close()
    assert [str(one.message) for one in warned if one.category is UserWarning] == []
