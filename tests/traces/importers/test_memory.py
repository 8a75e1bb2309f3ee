"""Memory does not grow with a file, although its conversations are interleaved throughout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# This process's own peak: getrusage also counts the process it was forked from.
_IMPORT = r"""
import re, sys
from continuum_sim.traces import import_trace
made = import_trace([sys.argv[1]], sys.argv[2], format="mooncake")
print(made.turns, re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1])
"""


def peak_kib(folder: Path, conversations: int, turns: int) -> int:
    """Import conversations that all begin before any of them continues, in a separate process."""
    source = folder / "m.jsonl"
    with source.open("w") as file:
        for turn in range(turns):
            for name in range(conversations):
                first = {"timestamp": name} if turn == 0 else {"delay": 5.0}
                ids = [name * turns + block for block in range(turn + 1)]
                row = {"session_id": f"s{name}", **first, "input_length": 512 * (turn + 1), "output_length": 9}
                file.write(json.dumps({**row, "hash_ids": ids}) + "\n")
    command = [sys.executable, "-c", _IMPORT, str(source), str(folder / "out.jsonl")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(said[0]) == conversations * turns
    return int(said[1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_turns(tmp_path: Path) -> None:
    few, many = peak_kib(tmp_path, 500, 10), peak_kib(tmp_path, 500, 120)
    assert many < few + 20 * 1024
