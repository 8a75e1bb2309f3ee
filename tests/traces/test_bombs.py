"""A small file that decompresses to far more than any text is refused, in bounded memory; text that repeats is read."""

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
    """Write a piece many times, compressed, without ever holding it all."""
    if path.suffix == ".gz":
        with gzip.open(path, "wb", compresslevel=6) as stream:
            for _ in range(times):
                stream.write(piece)
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
    with pytest.raises(TraceError, match=r"t\.jsonl.*(times its size|longer than 64 MiB)"):
        list(read_programs(bomb))
    with pytest.raises(TraceError, match=r"t\.jsonl"):
        import_trace([bomb], tmp_path / "o.jsonl", format="weka")
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 300


def test_a_conversation_sent_again_with_every_turn_is_no_bomb(tmp_path: Path) -> None:
    # 64 MiB of the same 100 KB under zstd, which a long window makes some hundreds of times smaller.
    line = json.dumps({"text": "".join(chr(33 + (i * i) % 90) for i in range(100_000))}).encode() + b"\n"
    path = _pack(tmp_path / "log.jsonl.zst", line, 640)
    assert 640 * len(line) > 100 * path.stat().st_size
    assert sum(1 for _ in read_lines(path)) == 640


def test_one_deep_line_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text("[" * 10_000_000)
    started_s = time.monotonic()
    with pytest.raises(TraceError, match=r"deep\.jsonl:1: nested too deeply"):
        list(read_programs(path))
    assert time.monotonic() - started_s < 30
