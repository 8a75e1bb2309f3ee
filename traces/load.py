"""Find a trace by name and read its programs one at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from continuum_sim.names import nearest
from continuum_sim.traces.decode import decode_program
from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.traces.header import TraceHeader, decode_header, is_header
from continuum_sim.traces.lines import read_lines
from continuum_sim.traces.schema import Program, truncate

_DATA: Final = Path(__file__).parent / "data"


def bundled_traces() -> dict[str, Path]:
    """Return the bundled traces: file name to path, sorted by name."""
    return {path.name: path for path in sorted(_DATA.glob("*.jsonl"))}


def find_trace(name: str | os.PathLike[str]) -> Path:
    """Return the file that ``name`` means: a local file of that name, otherwise a bundled trace.

    A bundled trace may be named with or without ``.jsonl``.

    Raises
    ------
    TraceError
        If neither exists; the message lists the bundled names and the one closest to ``name``.
    """
    local = Path(name)
    # Not is_file(): a pipe, such as bash's <(…), is a valid trace too.
    if local.exists() and not local.is_dir():
        return local
    bundled = bundled_traces()
    for candidate in (str(name), f"{name}.jsonl"):
        if candidate in bundled:
            return bundled[candidate]
    problem = "is a directory" if local.is_dir() else "is neither a file here nor a bundled trace"
    # Compare stems: a name that shares only its ending with a bundled one does not mean it.
    close = nearest(str(name).removesuffix(".jsonl"), (one.removesuffix(".jsonl") for one in bundled))
    guess = "," if close is None else f", did you mean {shown(f'{close}.jsonl')}?"
    raise TraceError(f"trace {shown(str(name))} {problem}{guess} bundled: {', '.join(bundled)}")


def read_programs(
    path: str | os.PathLike[str],
    *,
    limit: int | None = None,
    max_turns: int | None = None,
    on_header: Callable[[TraceHeader], None] = lambda header: None,
) -> Iterator[Program]:
    """Yield the programs of a trace file in file order, checked, one at a time.

    Memory does not grow with the file, except for the program ids, which are kept to refuse
    duplicates. Reads JSON lines, plain or compressed with gzip or zstd.

    Parameters
    ----------
    path
        The file; see `find_trace` for names.
    limit
        Stop after this many programs, not counting their sub-agents; the rest of the file is not read.
    max_turns
        Cut each program after this many turns (see `truncate`).
    on_header
        Called with the header, if there is one, before the first program.

    Raises
    ------
    TraceError
        While iterating, at the first line that is not a valid program, or if the file holds no program.
    ValueError
        Immediately, if ``limit`` or ``max_turns`` is below 1.
    """
    for argument, value in (("limit", limit), ("max_turns", max_turns)):
        if value is not None and value < 1:
            raise ValueError(f"{argument} is {value}, expected at least 1")
    return _programs(path, limit, max_turns, on_header)


def _programs(
    path: str | os.PathLike[str],
    limit: int | None,
    max_turns: int | None,
    on_header: Callable[[TraceHeader], None],
) -> Iterator[Program]:
    line_of: dict[str, int] = {}
    read = 0
    first_line = True
    for number, line in read_lines(path):
        try:
            if first_line and is_header(line):
                on_header(decode_header(line))
                continue
            program = decode_program(line)
        except TraceError as error:
            raise TraceError(error.detail, path=path, line=number) from None
        finally:
            first_line = False
        for member in program.family():
            first = line_of.setdefault(member.program_id, number)
            if first != number:
                detail = f"program_id {shown(member.program_id)} is also on line {first}, expected a new one"
                raise TraceError(detail, path=path, line=number)
        yield program if max_turns is None else truncate(program, max_turns)
        read += 1
        if read == limit:
            return
    if not line_of:
        raise TraceError("no program in it, expected one JSON object a line", path=path)


def read_header(path: str | os.PathLike[str]) -> TraceHeader | None:
    """Return the header of a trace file, or ``None`` if it has none.

    Raises
    ------
    TraceError
        If the file cannot be read, or its header is not valid.
    """
    for number, line in read_lines(path):
        if not is_header(line):
            return None
        try:
            return decode_header(line)
        except TraceError as error:
            raise TraceError(error.detail, path=path, line=number) from None
    return None


def trace_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the file's stored bytes, in hexadecimal.

    Raises
    ------
    TraceError
        If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from error
