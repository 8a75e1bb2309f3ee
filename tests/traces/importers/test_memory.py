"""Memory does not grow with lines, although their conversations are interleaved, and a document needs little more."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from continuum_sim.traces import import_trace
from support.request_logs import otel, weka

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


def otlp_document(spans: int) -> bytes:
    """Return one export of many traces."""
    export = json.loads(otel())
    scope = export["resourceSpans"][0]["scopeSpans"][0]
    scope["spans"] = [
        {**span, "traceId": f"{index:032x}"} for index in range(spans // len(scope["spans"])) for span in scope["spans"]
    ]
    return json.dumps(export).encode()


def weka_document(requests: int) -> bytes:
    """Return one conversation with long prompts."""
    trace = json.loads(weka())
    one = {**trace["requests"][0], "in": 64 * 600, "hash_ids": [10**6 + block for block in range(600)]}
    return json.dumps({**trace, "requests": [{**one, "t": 20.0 * index} for index in range(requests)]}).encode()


@pytest.mark.parametrize(
    ("format", "small", "large"),
    [("otel", otlp_document(8), otlp_document(4000)), ("weka", weka_document(1), weka_document(250))],
)
def test_a_document_takes_less_than_three_times_its_size(
    tmp_path: Path, format: str, small: bytes, large: bytes
) -> None:
    assert len(large) > 2**20
    source = tmp_path / "a.json"
    source.write_bytes(small)
    import_trace([source], tmp_path / "out.jsonl", format=format)  # what is imported and cached the first time
    source.write_bytes(large)
    tracemalloc.start()
    try:
        import_trace([source], tmp_path / "out.jsonl", format=format)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(large)
