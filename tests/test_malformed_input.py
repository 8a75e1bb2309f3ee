"""Whatever is wrong with an input ends in one line and exit code 2: 3,500 malformed ones of every kind.

`pytest -m slow tests/test_malformed_input.py` tries them all, CI some others every day; `MALFORMED_ONLY=17` one alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from continuum_sim.cli import main
from support.malformed import Malformed, make_valid, malformed

SEED = 14
INPUTS = 3_500
PART = 250
A_FEW = 60
MOST_S = 60
"""A command that takes longer hangs."""
MOST_GROWTH_BYTES = 1_500 * 2**20


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of valid inputs."""
    folder = tmp_path_factory.mktemp("malformed") / "valid"
    make_valid(folder, _works)
    return folder


def test_a_few_malformed_inputs(valid: Path, tmp_path: Path) -> None:
    _try_all(random.Random(SEED).sample(range(INPUTS), A_FEW), valid, tmp_path)


@pytest.mark.slow
@pytest.mark.repeats(share=7)
@pytest.mark.parametrize("first", range(0, INPUTS, PART))
def test_thousands_of_malformed_inputs(first: int, valid: Path, tmp_path: Path) -> None:
    numbers = list(range(first, first + PART))
    if only := os.environ.get("MALFORMED_ONLY"):
        numbers = [number for number in map(int, only.split(",")) if number in numbers]
    _try_all(numbers, valid, tmp_path)


def _try_all(numbers: list[int], valid: Path, tmp_path: Path) -> None:
    faults, codes, seconds = [], Counter[object](), Counter[str]()
    before_bytes = _most_memory_bytes()
    started_s = time.monotonic()
    for number in numbers:
        folder = tmp_path / f"{number}"
        case = malformed(SEED, number, valid, folder)
        begun_s = time.monotonic()
        code, fault = _try(case, folder)
        seconds[case.kind.partition(" ")[0]] += time.monotonic() - begun_s
        codes[code] += 1
        if fault:
            faults.append(f"{number} {case.kind}: {' '.join(case.arguments)[:300]}\n{fault}")
        _remove(folder)
    print(f"{len(numbers)} inputs in {time.monotonic() - started_s:.0f} s, exit codes {dict(codes)}")
    print(", ".join(f"{kind} {spent_s:.0f} s" for kind, spent_s in seconds.most_common()))
    assert not faults, f"{len(faults)} of {len(numbers)}:\n" + "\n".join(faults[:40])
    assert _most_memory_bytes() - before_bytes < MOST_GROWTH_BYTES


def _try(case: Malformed, folder: Path) -> tuple[object, str]:
    """Exit code of a command, and what is wrong with how it ends."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _alarm(), contextlib.chdir(folder):
            main(case.arguments)
    except SystemExit as exited:
        code = exited.code
    except _Hangs:
        return "hangs", f"hangs: more than {MOST_S} s"
    except BaseException:
        return "traceback", "".join(traceback.format_exc().splitlines(keepends=True)[-7:])
    said = err.getvalue()
    left = [path.name for path in folder.rglob("*.tmp")]
    if left:
        return code, f"left behind: {left}"
    if code in (0, 1):
        allowed = code == 0 or "backtest" in case.arguments
        return code, "" if allowed and "Traceback" not in said else f"exit code {code}: {said[-300:]}"
    if code != 2:
        return code, f"exit code {code}: {said[-300:]}"
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    # A sweep says first which cells failed.
    if len(errors) != 1 or lines[-1] != errors[0] or (len(lines) > 1 and case.arguments[0] != "sweep"):
        return code, f"{len(lines)} lines: {said[:500]!r}"
    if len(errors[0]) > 1_500:
        return code, f"a line of {len(errors[0])} characters: {errors[0][:300]}"
    about_all = "figure could be drawn" in errors[0]  # says what every figure lacks
    if case.at_fault is not None and case.at_fault not in errors[0] and not about_all:
        return code, f"names no file: {errors[0][:300]}"
    return code, ""


def _works(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exited, contextlib.redirect_stdout(io.StringIO()):
        main(arguments)
    assert not exited.value.code, arguments


class _Hangs(BaseException):
    """No `except Exception` stops it."""


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(MOST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _most_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
