"""Attention measured on grids that overlap or have gaps: the whole grid, from all the points that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, int, int, int]
"""Prefill chunk, its context, decoding requests, their mean context."""
Axes = Sequence[Sequence[int]]
"""The nodes of each of these, in order."""
Array = NDArray[np.float64]

_LEAST_VARIANCE: Final = 1e-6
"""Of the logarithm between neighbouring nodes: 0.1 % of a time, less than any measurement repeats itself."""
_CLOSE: Final = 1e-5
"""Relative residual at which the nodes' equations count as solved."""


def completed(times: Mapping[Key, float], axes: Axes, prompts: Array | None = None) -> Array:
    """Return the times at every combination of nodes of one kind of batch; measured ones stay as they are.

    Where some are missing, a time is what a sum of products of the axes says, fitted to the measured ones, times a
    factor that changes little between neighbours. `prompts` are the times of chunks and contexts alone, if known.
    """
    places = [{node: place for place, node in enumerate(nodes)} for nodes in axes]
    measured = np.full([len(nodes) for nodes in axes], np.nan)
    for key, time_s in times.items():
        place = tuple(of.get(node, -1) for of, node in zip(places, key, strict=True))
        if -1 not in place:
            measured[place] = time_s
    missing = np.isnan(measured)
    if missing.any():
        from scipy.optimize import nnls  # slow to import, and only grids with gaps need it

        work = _work(*np.meshgrid(*axes, indexing="ij"), prompts=prompts)
        shares, _ = nnls(work[~missing] / measured[~missing, None], np.ones(np.sum(~missing)))
        modelled = np.maximum(work @ shares, 1e-3 * np.nanmin(measured))
        measured[missing] = (modelled * np.exp(smoothed(np.log(measured / modelled), axes)))[missing]
    return measured


def _work(*nodes: NDArray[np.int64], prompts: Array | None) -> Array:
    """Return what a kernel may do at each node, in units of the most: terms of which none takes less than no time."""
    chunk, context, decodes, kv = (part.astype(float) for part in nodes)
    alone: tuple[Array, ...] = (context, chunk, chunk * context, chunk * chunk)
    if prompts is not None:
        alone = (np.broadcast_to(prompts[:, :, None, None], chunk.shape),)
    terms = (np.ones_like(chunk), *alone, decodes, kv, decodes * kv, decodes * chunk)
    return np.stack([term / max(1e-9, float(term.max())) for term in terms], axis=-1)


def smoothed(values: Array, axes: Axes) -> Array:
    """Fill what is missing so that neighbours differ as little as possible, for what is usual between those two nodes.

    The least sum of squared differences, each divided by their mean square over all lines of the grid: chunks that
    start another wave of tiles are far from one another, though their sizes be close.
    """
    known = ~np.isnan(values)
    if known.all():
        return values
    from scipy.sparse import csr_array, diags_array  # as in `completed`
    from scipy.sparse.linalg import cg

    number = np.arange(values.size).reshape(values.shape)
    rows, columns, weights = [], [], []
    for axis, nodes in enumerate(axes):
        if len(nodes) < 2:
            continue
        variances: Array = _variances(np.moveaxis(values, axis, -1).reshape(-1, len(nodes)), nodes)
        lines = np.moveaxis(number, axis, -1).reshape(-1, len(nodes))
        rows.append(lines[:, :-1].ravel())
        columns.append(lines[:, 1:].ravel())
        weights.append(np.broadcast_to(1 / variances, lines[:, 1:].shape).ravel())
    one, other, weight = (np.concatenate(part) for part in (rows, columns, weights))
    ends = (np.concatenate([one, other]), np.concatenate([other, one]))
    joined = csr_array((np.concatenate([weight, weight]), ends), shape=(values.size, values.size))
    total = np.bincount(ends[0], np.concatenate([weight, weight]), values.size)
    at, missing = known.ravel(), ~known.ravel()
    unknown = (diags_array(total) - joined).tocsr()[missing]
    target = -(unknown[:, at] @ values[known])
    start = np.full(int(missing.sum()), float(values[known].mean()))
    solved, _ = cg(unknown[:, missing], target, start, rtol=_CLOSE, M=diags_array(1 / total[missing]))
    filled: Array = values.ravel().copy()
    filled[missing] = solved
    return filled.reshape(values.shape)


def _variances(lines: Array, nodes: Sequence[int]) -> Array:
    """Return the mean squared difference across each interval of an axis.

    A difference across several intervals, where a line lacks the nodes between, counts in each by its share of the
    distance; distances are those of logarithms, as grids are laid out. Intervals of no line take the mean of the axis.
    """
    known = ~np.isnan(lines)
    distance = np.diff(np.log(np.array(nodes, float) + max(1, min(node for node in nodes if node))))
    squares, counts = np.zeros(len(distance)), np.zeros(len(distance))
    for span in range(1, len(nodes)):
        ends = known[:, :-span] & known[:, span:]
        for inside in range(1, span):
            ends &= ~known[:, inside : inside - span]
        if not ends.any():
            continue
        squared = np.where(ends, (lines[:, span:] - lines[:, :-span]) ** 2, 0.0).sum(axis=0)
        for first in range(len(nodes) - span):
            across = slice(first, first + span)
            squares[across] += squared[first] / distance[across].sum() / span
            counts[across] += ends[:, first].sum() / span
    mean = squares.sum() / max(counts.sum(), 1.0)
    rates = np.where(counts > 0, squares / np.maximum(counts, 1e-9), mean)
    variances: Array = np.maximum(rates * distance, _LEAST_VARIANCE)
    return variances
