"""Export a trace to files of another format."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.exporters.registry import EXPORTERS
from continuum_sim.traces.files import staged_folder, write_bytes
from continuum_sim.traces.schema import Program
from continuum_sim.traces.write import replacing


def export_trace(
    programs: Iterable[Program],
    to: str,
    out: str | os.PathLike[str],
    *,
    block_size: int | None = None,
    on_program: Callable[[Program], None] | None = None,
) -> int:
    """Write programs in another format, streamed, whole or not at all; return how many were written.

    Parameters
    ----------
    programs
        A trace.
    to
        ``mooncake`` or ``aiperf`` (one file, a row or conversation per line), ``weka`` (a new folder of files), or the
        name of another package's `Exporter`.
    out
        The file (``.gz`` and ``.zst`` are compressed) or folder.
    block_size
        Tokens per block of ``hash_ids``; by default that of the format's published traces (512, 64).
    on_program
        Called with every program before it is written.

    Raises
    ------
    TraceError
        For an unknown format, a program that breaks a rule, an empty trace, or a folder that exists already.
    """
    exporter = EXPORTERS.find(to)
    if block_size is not None and block_size < 1:
        raise TraceError(f"block_size is {block_size}, expected at least 1")
    seen = _Counted(programs, on_program)
    rows = exporter.rows(seen, block_size or exporter.block_size)
    if exporter.folder:
        _write_folder(Path(out), rows)
    else:
        with replacing(Path(out)) as stream:
            for row in rows:
                stream.write(_line(row))
            seen.check(out)
    return seen.count


class _Counted:
    """Programs, counted as they are read."""

    def __init__(self, programs: Iterable[Program], on_program: Callable[[Program], None] | None) -> None:
        self.count = 0
        self._programs, self._on_program = programs, on_program

    def __iter__(self) -> Iterator[Program]:
        for program in self._programs:
            self.count += 1
            if self._on_program is not None:
                self._on_program(program)
            yield program

    def check(self, out: str | os.PathLike[str]) -> None:
        if not self.count:
            raise TraceError("no program to write, expected at least one", path=out)


def _write_folder(folder: Path, documents: Iterator[dict[str, Any]]) -> None:
    with staged_folder(folder, _check_new) as staged:
        written = 0
        for number, document in enumerate(documents, start=1):
            name = re.sub(r"[^\w.-]+", "_", document["id"])[:100]
            write_bytes(staged / f"{number:06d}-{name}.json", _line(document))
            written = number
        if not written:
            raise TraceError("no program to write, expected at least one", path=folder)


def _check_new(folder: Path) -> None:
    if os.path.lexists(folder):
        raise TraceError("exists already, expected a new folder", path=folder)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
