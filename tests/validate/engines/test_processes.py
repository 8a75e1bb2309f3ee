"""All processes of an engine are ended, and no others."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from continuum_sim.validate.engines.engine_log import last_words
from continuum_sim.validate.engines.processes import descendants, end_processes

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_family_is_ended_even_if_it_does_not_listen_and_a_stranger_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("continuum_sim.validate.engines.processes._GRACE_S", 0.5)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    others = set(descendants())
    parent = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        found = set(descendants()) - others
        assert found == {parent.pid, child}
        end_processes(found)
        parent.wait(5)
        assert parent.returncode == -signal.SIGKILL
        deadline_s = time.monotonic() + 5
        while is_running(child) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert not is_running(child)
        assert is_running(stranger.pid)
    finally:
        for process in (stranger, parent):
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def test_ending_what_is_gone_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    end_processes([process.pid])


PRINTING = """
import os, subprocess, sys
from pathlib import Path
from continuum_sim.validate.engines.engine_log import printed_to
print("before")
with printed_to(Path(sys.argv[1])):
    print("from python")
    os.write(2, b"from below\\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
print("afterwards")
"""


def test_what_is_printed_goes_to_the_log_children_included(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    done = subprocess.run([sys.executable, "-c", PRINTING, str(log)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("before\nafterwards\n", "")
    assert sorted(log.read_text().splitlines()) == ["from a child", "from below", "from python"]


def test_the_first_error_of_an_engine_is_its_last_word(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(
        "INFO all is well: Error handling is on\n"
        "(EngineCore pid=7) ERROR Traceback (most recent call last):\n"
        "(EngineCore pid=7) ERROR   File core.py, line 3\n"
        "(EngineCore pid=7) ERROR torch.OutOfMemoryError: CUDA out of memory.  Tried to allocate 2 GiB\n"
        "Traceback (most recent call last):\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert last_words(log) == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    log.write_text("RuntimeError: Engine core initialization failed. See root cause above.\n")
    assert last_words(log) == ""
    assert last_words(tmp_path / "none") == ""
