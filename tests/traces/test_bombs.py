"""A small file that decompresses to far more than any text is refused in bounded memory; repetitive text is read."""

from __future__ import annotations

import gzip
import json
import resource
import time
from pathlib import Path

import pytest
import zstandard

from continuum_sim.traces import TraceError, import_trace, read_programs
from continuum_sim.traces.lines import read_lines

MIB = 2**20
TURN = {"input_tokens": 10, "kept_tokens": 0, "output_tokens": 2, "tool": None, "tool_s": 0}


def _pack(path: Path, piece: bytes, times: int) -> Path:
    """Write a piece many times, compressed, without ever holding the whole."""
    if path.suffix == ".gz":
        member = gzip.compress(piece, compresslevel=6)  # a file may hold many of these
        with path.open("wb") as file:
            for _ in range(times):
                file.write(member)
    else:
        with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
            for _ in range(times):
                packed.write(piece)
    return path


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("byte", [b"\n", b" ", b"["])
def test_a_bomb_is_refused(tmp_path: Path, suffix: str, byte: bytes) -> None:
    bomb = _pack(tmp_path / f"t.jsonl{suffix}", byte * MIB, 300)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TraceError, match=r"t\.jsonl.*(times its size|longer than 64 MiB|blank lines)"):
        list(read_programs(bomb))
    with pytest.raises(TraceError, match=r"t\.jsonl"):
        import_trace([bomb], tmp_path / "o.jsonl", format="weka")
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 400  # 64 MiB of a line or document, and its copies


def test_a_conversation_sent_again_with_every_turn_is_no_bomb(tmp_path: Path) -> None:
    # Under zstd, whose window holds the conversation: some hundred times smaller.
    words = [format(number * 2_654_435_761 % 2**32, "x") for number in range(60_000)]
    path, turns = tmp_path / "log.jsonl.zst", 400
    written = 0
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
        for turn in range(turns):
            written += packed.write(json.dumps({"messages": words[: 10_000 + 50 * turn]}).encode() + b"\n")
    assert written > max(32 * MIB, 100 * path.stat().st_size)
    assert sum(1 for _ in read_lines(path)) == turns


def test_a_line_of_nothing_but_brackets_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"[" + b"[]," * 11_000_000 + b"[]]\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TraceError, match=r"t\.jsonl:1: over 10,000,000 objects and arrays"):
        list(read_programs(path))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 300


def test_one_deep_line_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text("[" * 10_000_000)
    started_s = time.monotonic()
    with pytest.raises(TraceError, match=r"deep\.jsonl:1: nested too deeply"):
        list(read_programs(path))
    assert time.monotonic() - started_s < 30
