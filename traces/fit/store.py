"""Read and write fits as JSON files, checked when read."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.fit.model import TraceFit
from continuum_sim.traces.write import replacing


def save_fit(fit: TraceFit, path: str | os.PathLike[str]) -> None:
    """Write a fit, whole or not at all; the same fit gives the same bytes.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with replacing(Path(path)) as stream:
        stream.write(encode_fit(fit))


def encode_fit(fit: TraceFit) -> bytes:
    """Return what `save_fit` writes: one key per line, but all numbers of a distribution on one line."""
    text = msgspec.json.format(msgspec.json.encode(fit), indent=1).decode()
    lines: list[str] = []
    inside: list[str] | None = None
    for line in text.split("\n"):
        if inside is not None:
            inside.append(line.strip())
            if line.strip().startswith("]"):
                lines.append(" ".join(inside).replace("[ ", "[").replace(" ]", "]"))
                inside = None
        elif line.endswith('"values": ['):
            inside = [line]
        else:
            lines.append(line)
    return ("\n".join(lines) + "\n").encode()


def load_fit(path: str | os.PathLike[str]) -> TraceFit:
    """Read a fit.

    Raises
    ------
    TraceError
        If the file cannot be read or is not a fit; the message names the place in it.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from error
    try:
        return msgspec.json.decode(content, type=TraceFit)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise TraceError(f"not a fit of a trace: {error}; `trace fit` makes one", path=path) from None
