"""Ctrl-C and similar signals stop every command: with one line, nothing left behind, and never lost."""

from __future__ import annotations

import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from continuum_sim import interrupts
from support.cli import cli

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of Unix"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
FEW = ("--limit", "3")
SCALE = ("trace", "scale", "bfcl", "--scale", "tokens=2")
GRID = ("--policies", "fcfs,lru", "--rates", "1", *FEW, "--jobs", "1")


class Trap:
    """Gets a signal in its destructor, where Python ignores what the handler raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def swallowed_by_a_destructor(number: int) -> None:
    trap = Trap(number)
    del trap


def swallowed_by_a_callback(number: int) -> None:
    with suppress(BaseException):
        signal.raise_signal(number)


def swallowed(monkeypatch: pytest.MonkeyPatch, at: str, strike: Callable[[], None]) -> None:
    """Make a function call `strike`, which swallows what it raises, the first time it runs."""
    module, _, name = at.rpartition(".")
    home = importlib.import_module(f"continuum_sim.{module}")
    usual, calls = getattr(home, name), []

    def struck(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            strike()
        return usual(*args, **kwargs)

    monkeypatch.setattr(home, name, struck)


@pytest.mark.parametrize(
    ("at", "command", "said"),
    [
        ("runs.execute.simulate", ("run", *FEW, "--out", "out"), r"interrupted after .*; nothing was written"),
        ("runs.execute.simulate", ("compare", *FEW, "--out", "out"), r"interrupted after .*; nothing was written"),
        ("results.result.to_json", ("run", *FEW, "--out", "out"), r"interrupted after .*; nothing was written"),
        ("sweeps.cell_run.execute", ("sweep", *GRID, "--out", "sweep"), r"interrupted after .* goes on from there"),
        (
            "traces.write.encode_program",
            ("trace", "scale", "bfcl", "--scale", "tokens=2", "-o", "out"),
            r"interrupted .*",
        ),
        ("traces.write.encode_program", ("trace", "mix", "bfcl:1", "-o", "out"), r"interrupted .*"),
        ("cli.console.show", ("hardware",), r"interrupted when the command had done its work"),
    ],
    ids=["run", "compare", "run at its end", "sweep", "trace scale", "trace mix", "hardware"],
)
@pytest.mark.parametrize("swallow", [swallowed_by_a_destructor, swallowed_by_a_callback])
def test_an_interrupt_that_is_swallowed_stops_the_command_all_the_same(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    at: str,
    command: tuple[str, ...],
    said: str,
    swallow: Callable[[int], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    swallowed(monkeypatch, at, lambda: swallow(signal.SIGINT))
    code, _, err = cli(capsys, *command)
    assert (code, err.count("\n")) == (130, 1), err
    assert re.fullmatch(rf"error: {said}\n", err)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("number", CODES)
def test_every_signal_ends_a_command_alike(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    before = [signal.getsignal(one) for one in CODES]
    swallowed(monkeypatch, "runs.execute.simulate", lambda: signal.raise_signal(number))
    code, out, err = cli(capsys, "run", *FEW, "--out", tmp_path / "out")
    assert (code, out) == (CODES[number], "")
    assert re.fullmatch(r"error: interrupted after 0 of 3 programs, .*; nothing was written\n", err)
    assert list(tmp_path.iterdir()) == []
    assert [signal.getsignal(one) for one in CODES] == before
    assert interrupts.noted() is None


def test_a_signal_the_caller_ignores_stays_ignored(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        swallowed(monkeypatch, "runs.execute.simulate", lambda: signal.raise_signal(signal.SIGHUP))
        assert cli(capsys, "run", *FEW)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_while_results_take_their_place_does_not_cut_that_in_two(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert cli(capsys, "run", *FEW, "--out", out)[0] == 0
    usual = os.replace

    def struck(*paths: Any) -> None:
        usual(*paths)
        if os.fspath(out) in paths:  # the old results are moved away, the new ones put there
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(os, "replace", struck)
    code, _, err = cli(capsys, "run", "--limit", "4", "--out", out, "--force")
    assert (code, err.splitlines()[-1]) == (143, "error: interrupted when the command had done its work")
    assert '"programs": 4' in (out / "summary.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def catches_signals(process: subprocess.Popen[str]) -> bool:
    """Return True if a command has installed its handlers, according to Linux."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.repeats(share=3)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("jobs", [1, 2])
def test_commands_are_stopped_at_any_moment(tmp_path: Path, jobs: int) -> None:
    rng = random.Random(jobs)
    command = [sys.executable, "-m", "continuum_sim", "compare", "--seeds", "0", "--out", "out", "--limit", "15"]
    command += ["--jobs", str(jobs)]
    ended = []
    started_s = time.monotonic()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    whole_s = time.monotonic() - started_s
    shutil.rmtree(tmp_path / "out")
    for _ in range(8):
        number, twice = rng.choice([signal.SIGINT, signal.SIGTERM]), rng.random() < 0.3
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while process.poll() is None and not catches_signals(process):
            time.sleep(0.005)
        time.sleep(rng.random() * whole_s)
        for _ in range(1 + twice):
            os.killpg(process.pid, number)  # as a terminal or `timeout` does: workers get it too
            time.sleep(0.02)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (CODES[number], 0), err  # it may have been done before
        assert err.count("\n") <= 1, err
        assert process.returncode != CODES[number] or err.startswith("error: interrupted"), err
        assert {path.name for path in tmp_path.iterdir() if not path.name.endswith(".tmp")} <= {"out"}
        assert twice or not list(tmp_path.glob(".*"))
        ended.append(process.returncode)
        assert (tmp_path / "out" / "comparison.json").exists() or process.returncode
        if process.returncode == 0 or (tmp_path / "out" / "comparison.json").exists():
            shutil.rmtree(tmp_path / "out")
    assert any(code > 0 for code in ended)
