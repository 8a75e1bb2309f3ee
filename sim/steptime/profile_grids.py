"""Attention measured on several grids that overlap: what one lacks at the other's nodes lies between its own."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence

Key = tuple[int, int, int, int]
"""Prefill chunk, its context, decoding requests, their mean context."""


def completed(times: Mapping[Key, float]) -> dict[Key, float]:
    """Return the table with the nodes that overlapping grids leave out.

    Profilers measure grids of different steps of the chunk, each with contexts of its own. Contexts enter linearly
    (`Attention`), so the contexts that a chunk lacks lie on the line through its nearest measured ones: first those of
    decoding requests, then its own. Only what several chunks lack is completed: the gap of a single one is an error in
    the table.
    """
    found = dict(times)
    for axis in (3, 1):
        _complete_along(axis, found)
    return found


def _complete_along(axis: int, times: dict[Key, float]) -> None:
    """Fill each line along an axis up to the nodes of all lines like it."""
    lines: dict[tuple[bool, bool], dict[tuple[int, ...], dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for key, time_s in times.items():
        rest = key[:axis] + key[axis + 1 :]
        lines[bool(key[0]), bool(key[2])][rest][key[axis]] = time_s
    for (chunks, decodes), alike in lines.items():
        if not (decodes if axis == 3 else chunks):
            continue
        nodes = {node for line in alike.values() for node in line}
        sharing: dict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
        for rest, line in alike.items():
            # Contexts of decoding requests beside one chunk may be a grid of their own.
            sharing[tuple(sorted(line))].add(rest[:1] if axis == 1 else rest)
        for measured, of_them in sharing.items():
            if len(measured) == len(nodes) or len(measured) == 1 or len(of_them) == 1:
                continue
            for rest, line in alike.items():
                if len(line) == len(measured) and tuple(sorted(line)) == measured:
                    for node in nodes.difference(measured):
                        at = [*rest[:axis], node, *rest[axis:]]
                        times[at[0], at[1], at[2], at[3]] = _line(line, measured, node)


def _line(line: Mapping[int, float], measured: Sequence[int], node: int) -> float:
    above = min(max(bisect_left(measured, node), 1), len(measured) - 1)
    low, high = measured[above - 1], measured[above]
    value = line[low] + (node - low) / (high - low) * (line[high] - line[low])
    return max(value, 0.0) if node > low else min(max(value, 0.0), line[low])
