"""An importer as another package would bring it: programs of one turn in a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from continuum_sim.traces import Program, Turn
from continuum_sim.traces.importers import Importer
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    for source in sources:
        for _, line in source.lines():
            name, prompt, output = line.decode().split(",")
            yield Program(session.unique(name), (Turn(int(prompt), 0, int(output)),))


IMPORTER = Importer(
    name="theirs",
    title="a table",
    source="this file",
    patterns=("*.csv",),
    sniff=lambda head: 1.0 if head.text.count(",") == 2 * len(head.text.splitlines()) else 0.0,
    read=_read,
    measured=("input_tokens", "output_tokens"),
    derived=(),
    missing=("everything else",),
)
