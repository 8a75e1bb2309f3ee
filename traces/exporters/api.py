"""The interface of an exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from continuum_sim.traces.schema import Program


@dataclass(frozen=True, slots=True)
class Exporter:
    """One export format.

    Attributes
    ----------
    name
        Its name for ``--to``.
    rows
        Takes programs and the tokens per block; yields JSON objects, which are the lines of one file or files.
    block_size
        Tokens per block of ``hash_ids`` in the format's published traces; 0 for a format without blocks.
    folder
        True if every object is a file of its own, named after its ``id``, in a new folder.
    """

    name: str
    rows: Callable[[Iterable[Program], int], Iterator[dict[str, Any]]]
    block_size: int = 0
    folder: bool = False
