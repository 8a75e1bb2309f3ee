"""Sets of block numbers, as sorted lists of spans [start, stop) that do not touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

Spans = list[tuple[int, int]]


def add(spans: Spans, start: int, stop: int) -> None:
    """Add the blocks [start, stop)."""
    first = bisect_left(spans, start, key=_stop)  # of those that touch it
    last = bisect_right(spans, stop, key=_start)
    if first < last:
        start = min(start, spans[first][0])
        stop = max(stop, spans[last - 1][1])
    spans[first:last] = [(start, stop)]


def outside(spans: Spans, start: int, stop: int) -> Spans:
    """Return which of the blocks [start, stop) are in none of the spans."""
    found: Spans = []
    for at, end in spans:
        if end <= start:
            continue
        if at >= stop:
            break
        if at > start:
            found.append((start, at))
        start = end
    if start < stop:
        found.append((start, stop))
    return found


def inside(spans: Spans, start: int, stop: int) -> Spans:
    """Return which of the blocks [start, stop) are in the spans."""
    return [(max(at, start), min(end, stop)) for at, end in spans if at < stop and end > start]


def _start(span: tuple[int, int]) -> int:
    return span[0]


def _stop(span: tuple[int, int]) -> int:
    return span[1]
