"""Write programs to a trace file: whole or not at all, and the same bytes for the same programs."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from continuum_sim.traces.check import check_program
from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.traces.files import spool, whole_file
from continuum_sim.traces.header import TraceHeader, encode_header
from continuum_sim.traces.schema import STOP, Child, Program, ToolCall, Turn

_QUOTE: Final = json.JSONEncoder(ensure_ascii=False).encode
"""Encodes a string as JSON."""
_quoted: Final = lru_cache(4096)(_QUOTE)
"""The same, cached for names, which repeat."""


def write_programs(
    path: str | os.PathLike[str],
    programs: Iterable[Program],
    header: TraceHeader | Callable[[], TraceHeader] | None = None,
) -> int:
    """Write ``programs`` as JSON lines and return how many there were, sub-agents not counted.

    Readers see the old file or the new one, see `whole_file`. A name ending in ``.gz`` or ``.zst`` is compressed.

    Parameters
    ----------
    path
        The file.
    programs
        Read one at a time.
    header
        The first line; a callable is called after the last program, for a header known only then.

    Raises
    ------
    TraceError
        If a program breaks a rule, two share an id, or there is none; nothing is written then.
    OSError
        If the file cannot be written.
    """
    lines = (line for _, line in encode_each(programs))
    if callable(header):
        return write_lines(path, lines, header)
    with replacing(Path(path)) as stream:
        if header is not None:
            stream.write(encode_header(header))
        return _write_all(stream, lines, path)


def write_lines(path: str | os.PathLike[str], lines: Iterable[bytes], header: Callable[[], TraceHeader]) -> int:
    """Write the lines of programs as `write_programs` does, and a header that is known after the last of them.

    They are written first, then the header is put before them: both compressions allow concatenation.
    """
    suffix = Path(path).suffix
    with spool(path) as body:
        with _compressing(body, suffix) as stream:
            count = _write_all(stream, lines, path)
        body.seek(0)
        with whole_file(path) as file:
            with _compressing(file, suffix) as stream:
                stream.write(encode_header(header()))
            shutil.copyfileobj(body, file, 2**20)
    return count


def _write_all(stream: BinaryIO, lines: Iterable[bytes], path: str | os.PathLike[str]) -> int:
    written = 0
    for line in lines:
        stream.write(line)
        written += 1
    if not written:
        raise TraceError("no program to write, expected at least one", path=path)
    return written


def encode_each(programs: Iterable[Program]) -> Iterator[tuple[Program, bytes]]:
    """Yield programs with their lines, see `encode_program`.

    Raises
    ------
    TraceError
        If a program breaks a rule, or two share an id.
    """
    seen: set[str] = set()
    for program in programs:
        yield program, encode_program(program)
        for member in program.family():
            if member.program_id in seen:
                raise TraceError(f"program_id {shown(member.program_id)} appears twice, expected unique ids")
            seen.add(member.program_id)


def encode_program(program: Program) -> bytes:
    """Check ``program`` and return its canonical line: fixed field order, no spaces, shortest floats."""
    check_program(program)
    return _program(program, end="\n").encode()


def _program(program: Program, end: str = "") -> str:
    """Return a program as JSON followed by ``end``.

    Written out, because building and encoding dictionaries would take three times as long.
    """
    prefix = program.shared_prefix
    arrival_s = "" if program.arrival_s is None else _arrival(program.arrival_s)
    shared = "" if prefix is None else f',"shared_prefix":{{"id":{_quoted(prefix.id)},"tokens":{prefix.tokens}}}'
    turns = ",".join(map(_turn, program.turns))
    children = f',"children":[{",".join(map(_child, program.children))}]' if program.children else ""
    priority = f',"priority":{program.priority}' if program.priority else ""
    return (
        f'{{"program_id":{_QUOTE(program.program_id)}{arrival_s}{priority}{shared},"turns":[{turns}]{children}}}{end}'
    )


def _arrival(arrival_s: float) -> str:
    return f',"arrival_s":{float(arrival_s)!r}'


def move_arrival(line: bytes, arrival_s: float, new_s: float) -> bytes:
    """Return a program's line with another arrival time in place of ``arrival_s``."""
    # The first match is the field: it follows the id, in which a quotation mark would have a backslash before it.
    return line.replace(_arrival(arrival_s).encode(), _arrival(new_s).encode(), 1)


def _turn(turn: Turn) -> str:
    tool = "null" if turn.tool is None else _quoted(turn.tool)
    tools = f',"tools":[{",".join(map(_call, turn.tools))}]' if turn.tools else ""
    finish = "" if turn.finish == STOP else f',"finish":{_QUOTE(turn.finish)}'
    if turn.mean_acceptance_length is not None:
        finish += f',"mean_acceptance_length":{turn.mean_acceptance_length!r}'
    return (
        f'{{"input_tokens":{turn.input_tokens},"kept_tokens":{turn.kept_tokens},"output_tokens":{turn.output_tokens},'
        f'"tool":{tool},"tool_s":{float(turn.tool_s)!r}{tools}{finish}}}'
    )


def _call(call: ToolCall) -> str:
    return f'{{"tool":{_quoted(call.tool)},"tool_s":{float(call.tool_s)!r}}}'


def _child(child: Child) -> str:
    join_turn = "null" if child.join_turn is None else child.join_turn
    return f'{{"after_turn":{child.after_turn},"join_turn":{join_turn},"program":{_program(child.program)}}}'


def program_record(program: Program) -> dict[str, Any]:
    """Return what a program's line says, including sub-agents, as plain values."""
    record: dict[str, Any] = json.loads(_program(program))
    return record


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content becomes the file if nothing goes wrong; see `whole_file`.

    A name ending in ``.gz`` or ``.zst`` is compressed.
    """
    with whole_file(path) as file, _compressing(file, path.suffix) as stream:
        yield stream


@contextmanager
def _compressing(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    if suffix == ".gz":
        # No name or time in the header, so that the bytes depend on the programs alone.
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as stream:
            yield cast(BinaryIO, stream)
    elif suffix == ".zst":
        import zstandard  # only needed here

        with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as stream:
            yield cast(BinaryIO, stream)
    else:
        yield file
