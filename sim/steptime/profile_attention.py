"""Attention times interpolated from a measured grid, following the kernel's work between its nodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.piecewise import Piece
from continuum_sim.steptime.profile_tables import AttentionGrid

_MOST_KNOWN = 100_000
"""Most interpolated cells kept of each kind: some 30 MB."""


class Attention:
    """All layers' attention, interpolated from one layer's grid.

    Plain interpolation along the grid's axes would be wrong, because work between its nodes grows differently:

    * a chunk of m tokens on c computed ones is interpolated between chunk sizes by its query-key pairs m·c + m(m+1)/2;
    * contexts (of the chunk, and the mean one of the decoding requests) and decoding requests enter linearly;
    * several prefilling requests take that many times their mean chunk's time, with one launch; they are not one long
      chunk, because the grid's chunk is one request, and a chunk's pairs grow with the square of its length;
    * beyond the grid the last interval is extrapolated, except that decoding requests add to a larger chunk or a
      longer context what they add to the largest measured; chunks below the grid cost as much as its smallest one,
      because from the first prefilled token on decoding requests go through the chunk's kernel instead of their own.

    Over a run, the time is a polynomial of the step's number, at most quadratic, between the nodes of the contexts.
    """

    def __init__(self, grid: AttentionGrid, layers: int) -> None:
        self.grid, self.layers = grid, layers
        self.launch_s = min(min(row) for row in grid.prefill)
        self.prefill = _Memo(self._prefill_line)
        self.decode = _Memo(self._decode_line)
        self.beside = _Memo(self._beside_cell)

    def pieces(self, batch: StepBatch, n_steps: int) -> list[Piece]:
        """Cut a run where a context passes a node of the grid."""
        requests, tokens, _, pairs, decodes, attended = batch
        if not tokens and not decodes:
            return [(n_steps, 0.0, 0.0, 0.0)]
        grid, layers = self.grid, self.layers
        chunk = tokens / requests if tokens else 0.0
        # The context of each of the equal chunks that together have these pairs; grows by `tokens` per step.
        context = pairs / tokens - (chunk + 1) / 2 if tokens else 0.0
        kv = attended / decodes if decodes else 0.0
        pieces: list[Piece] = []
        start = 0
        while start < n_steps:
            at, kv_at = context + start * tokens, kv + start
            steps = n_steps - start
            a = b = c = 0.0
            if tokens:
                i, x, dx = _cell(grid.contexts, at, tokens)
                steps = min(steps, _steps_to_node(grid.contexts, at, tokens, steps))
                here, right = self.prefill[chunk, i]
                # Further prefilling requests add their work, but no launch.
                a += requests * (here + x * right) - (requests - 1) * self.launch_s
                b += requests * dx * right
            if decodes:
                j, y, dy = _cell(grid.decode_contexts, kv_at, 1)
                steps = min(steps, _steps_to_node(grid.decode_contexts, kv_at, 1, steps))
                if tokens:
                    if at >= grid.contexts[-1]:  # beside a longer context than measured: as beside the longest
                        x, dx = 1.0, 0.0
                    here, right, up, both = self.beside[chunk, i, decodes, j]
                else:
                    x = dx = right = both = 0.0
                    here, up = self.decode[decodes, j]
                a += here + x * right + y * up + x * y * both
                b += dx * right + dy * up + (x * dy + y * dx) * both
                c += dx * dy * both
            pieces.append((steps, layers * a, layers * b, layers * c))
            start += steps
        return pieces

    def _prefill_line(self, chunk: float, i: int) -> tuple[float, float]:
        """Return the coefficients of 1 and x in a cell of the chunk's context."""
        low, high = (
            _blend(self.grid.prefill[row][node], self.grid.prefill[above][node], share)
            for node in (i, i + 1)
            for row, above, share in [self._chunk_share(chunk, node)]
        )
        return low, high - low

    def _decode_line(self, decodes: int, j: int) -> tuple[float, float]:
        """Return the coefficients of 1 and y in a cell of the decoding requests' context."""
        row, above, share = _between(self.grid.decode_alone, decodes)
        low, high = (_blend(self.grid.decode[row][node], self.grid.decode[above][node], share) for node in (j, j + 1))
        return low, high - low

    def _beside_cell(self, chunk: float, i: int, decodes: int, j: int) -> tuple[float, float, float, float]:
        """Return the coefficients of 1, x, y and x·y in a cell of both contexts, for what decodes add to a chunk."""
        here, up = self._added(chunk, i, decodes, j), self._added(chunk, i, decodes, j + 1)
        right, both = self._added(chunk, i + 1, decodes, j), self._added(chunk, i + 1, decodes, j + 1)
        return here, right - here, up - here, here + both - right - up

    def _added(self, chunk: float, i: int, decodes: int, j: int) -> float:
        """Return what decoding requests add to a chunk; beside a larger chunk than measured, as beside the largest."""
        low, high, share = self._chunk_share(chunk, i)
        return _blend(self._added_in_row(low, i, decodes, j), self._added_in_row(high, i, decodes, j), min(share, 1.0))

    def _added_in_row(self, row: int, i: int, decodes: int, j: int) -> float:
        low, high, share = _between(self.grid.decode_beside, decodes)
        return _blend(self.grid.beside[row][i][low][j], self.grid.beside[row][i][high][j], share)

    def _chunk_share(self, chunk: float, i: int) -> tuple[int, int, float]:
        """Return the rows around a chunk, and its place between them by query-key pairs at a context node."""
        chunks, context = self.grid.chunks, self.grid.contexts[i]
        low, high, _ = _between(chunks, chunk)
        if chunk <= chunks[0]:
            return low, high, 0.0
        small, large = chunks[low], chunks[high]
        least = small * (context + (small + 1) / 2)
        most = large * (context + (large + 1) / 2)
        return low, high, (chunk * (context + (chunk + 1) / 2) - least) / (most - least)


class _Memo(dict[Any, Any]):
    """Results of a function by its arguments: the same run is asked for several times, and many runs share cells."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def __missing__(self, arguments: tuple[Any, ...]) -> Any:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        result = self[arguments] = self.function(*arguments)
        return result


def _cell(nodes: Sequence[int], value: float, growth: float) -> tuple[int, float, float]:
    """Return a value's cell, its place in it from 0 to 1, and its change per step; constant below the first node."""
    if value < nodes[0]:
        return 0, 0.0, 0.0
    i = min(bisect_right(nodes, value), len(nodes) - 1) - 1
    width = nodes[i + 1] - nodes[i]
    return i, (value - nodes[i]) / width, growth / width


def _steps_to_node(nodes: Sequence[int], value: float, growth: float, most: int) -> int:
    """Return the steps until a growing value reaches the next node; `most` beyond the last one."""
    following = bisect_right(nodes, value)
    if following == len(nodes):
        return most
    return max(1, ceil((nodes[following] - value) / growth))


def _between(nodes: Sequence[int], count: float) -> tuple[int, int, float]:
    """Return the nodes around a count and its place between them: the first node below it, above 1 beyond the last."""
    if count <= nodes[0]:
        return 0, min(1, len(nodes) - 1), 0.0
    low = max(0, min(bisect_right(nodes, count), len(nodes) - 1) - 1)
    high = min(low + 1, len(nodes) - 1)
    return low, high, (count - nodes[low]) / (nodes[high] - nodes[low]) if high > low else 0.0


def _blend(low: float, high: float, share: float) -> float:
    return low + share * (high - low)
