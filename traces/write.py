"""Programs to a trace file: whole or not at all, and the same bytes for the same programs."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from continuum_sim.traces.check import check_program
from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.traces.schema import Program, ToolCall, Turn


def write_programs(path: str | os.PathLike[str], programs: Iterable[Program]) -> int:
    """Write ``programs`` as JSON lines and return how many there were, sub-agents not counted.

    Streams to a temporary file beside ``path`` and renames it at the end, so that a reader sees the
    old file or the new one. A name that ends in ``.gz`` or ``.zst`` is compressed.

    Raises
    ------
    TraceError
        If a program breaks a rule, two share an id, or there is none: nothing is written then.
    OSError
        If the file cannot be written.
    """
    seen: set[str] = set()
    written = 0
    with _replacing(Path(path)) as stream:
        for program in programs:
            stream.write(encode_program(program))
            written += 1
            for member in program.family():
                if member.program_id in seen:
                    raise TraceError(f"program_id {shown(member.program_id)} is there twice, expected unique ids")
                seen.add(member.program_id)
        if not seen:
            raise TraceError("no program to write, expected at least one", path=path)
    return written


def encode_program(program: Program) -> bytes:
    """Check ``program`` and return its canonical line: fixed field order, no spaces, shortest floats."""
    check_program(program)
    return json.dumps(_program(program), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _program(program: Program) -> dict[str, Any]:
    record: dict[str, Any] = {"program_id": program.program_id}
    if program.arrival_s is not None:
        record["arrival_s"] = float(program.arrival_s)
    if program.shared_prefix is not None:
        record["shared_prefix"] = {"id": program.shared_prefix.id, "tokens": program.shared_prefix.tokens}
    record["turns"] = [_turn(turn) for turn in program.turns]
    if program.children:
        record["children"] = [
            {"after_turn": child.after_turn, "join_turn": child.join_turn, "program": _program(child.program)}
            for child in program.children
        ]
    return record


def _turn(turn: Turn) -> dict[str, Any]:
    record: dict[str, Any] = {
        "input_tokens": turn.input_tokens,
        "kept_tokens": turn.kept_tokens,
        "output_tokens": turn.output_tokens,
        "tool": turn.tool,
        "tool_s": float(turn.tool_s),
    }
    if turn.tools:
        record["tools"] = [_call(call) for call in turn.tools]
    return record


def _call(call: ToolCall) -> dict[str, Any]:
    return {"tool": call.tool, "tool_s": float(call.tool_s)}


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file, _compressing(file, path.suffix) as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _compressing(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    if suffix == ".gz":
        # No name and no time in the header: the bytes depend on the programs alone.
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as stream:
            yield cast(BinaryIO, stream)
    elif suffix == ".zst":
        import pyarrow as pa  # heavy, and only needed here

        with pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd") as stream:
            yield stream
    else:
        yield file
