"""Detect the format of a log, and read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.names import unknown
from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded import llmservingsim, vllm_bench
from continuum_sim.validate.recorded.fields import numbered_lines, parse_object, read_bytes
from continuum_sim.validate.recorded.log import RecordedLog

FORMATS: Final[Mapping[str, Callable[[Path], RecordedLog]]] = {
    llmservingsim.NAME: llmservingsim.read_llmservingsim,
    vllm_bench.NAME: vllm_bench.read_vllm_bench,
}
"""Readers by format name."""


def read_recorded(path: str | os.PathLike[str], format: str | None = None) -> RecordedLog:
    """Read a log of a real run.

    Parameters
    ----------
    format
        One of `FORMATS`; None detects it from the file's contents.

    Raises
    ------
    TraceError
        If the file cannot be read or a value is wrong; the message names line and field.
    ConfigError
        For an unknown format, or a run with which one simulated engine cannot be compared.
    """
    path = Path(path)
    if format is None:
        format = _detect(path)
    elif format not in FORMATS:
        raise ConfigError(unknown("format", format, FORMATS))
    return FORMATS[format](path)


def _detect(path: Path) -> str:
    data = read_bytes(path)
    lines = numbered_lines(data)
    if not lines:
        raise TraceError("is empty, expected a log of requests", path=path)
    number, line = lines[0]
    try:
        first = parse_object(line, path, number)
    except TraceError as error:
        first = _whole(data, path, error)
    found = set(first)
    # Most marks suffice, because a missing field is the reader's to report.
    for name, marks in ((llmservingsim.NAME, llmservingsim.MARKS), (vllm_bench.NAME, vllm_bench.MARKS)):
        if len(found & marks) > len(marks) // 2:
            return name
    raise TraceError(
        f"is in no known format; expected JSON lines with {', '.join(sorted(llmservingsim.MARKS))}, … "
        f"({llmservingsim.NAME}) or a result of `vllm bench serve` ({vllm_bench.NAME})",
        path=path,
        line=number,
    )


def _whole(data: bytes, path: Path, first_line: TraceError) -> dict[str, Any]:
    """Decode a file that may be one object over many lines; if it is not, the error is its first line's."""
    try:
        return parse_object(data.removeprefix(b"\xef\xbb\xbf"), path)
    except TraceError as of_whole:
        opened = data.split(b"\n", 1)[0].strip() == b"{"
        raise (of_whole if opened else first_line) from None
