"""What an exporter is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from continuum_sim.traces.schema import Program


@dataclass(frozen=True, slots=True)
class Exporter:
    """One format.

    Attributes
    ----------
    name
        What ``--to`` calls it.
    rows
        From programs and the tokens of a block, yields JSON objects: the lines of one file, or its files.
    block_size
        Tokens that a block of ``hash_ids`` has in the format's published traces; 0 for a format without blocks.
    folder
        Whether every object is a file of its own in a new folder, named after its ``id``.
    """

    name: str
    rows: Callable[[Iterable[Program], int], Iterator[dict[str, Any]]]
    block_size: int = 0
    folder: bool = False
