"""What attention takes longer because contexts differ: the longest keeps a wave of tiles waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from continuum_sim.steptime.profile_grids import smoothed

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SkewRow:
    """Decoding requests of two contexts, one of them `skew` times the other, beside a chunk or none."""

    decodes: int
    longer: int
    """How many of them have the longer context."""
    skew: float
    chunk: int
    context: int
    kv: float
    """Mean context of the decoding requests."""
    factor: float
    """Time of the batch over that of one in which all have the mean context."""


class Skew:
    """Factors on the times of batches of equal contexts, for requests drawn from a population of two contexts.

    A step's batch tells the mean of its contexts alone. So the factor is the mean one over populations in which the
    profile's own shares have the longer context, those it has for its largest batch; fewer requests drawn from them
    differ less. Only rows of the commonest `skew` count, which is the one that a profile varies the rest at.
    """

    def __init__(self, rows: Sequence[SkewRow]) -> None:
        skews = [row.skew for row in rows]
        self.skew = max(set(skews), key=lambda skew: (skews.count(skew), -skew))
        rows = [row for row in rows if row.skew == self.skew]
        self.decodes = sorted({row.decodes for row in rows})
        self.shares = sorted({row.longer / row.decodes for row in rows if row.decodes == self.decodes[-1]})
        self._curves: dict[tuple[int, int, int], dict[float, dict[float, list[float]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for row in rows:
            share = row.longer / row.decodes
            self._curves[row.chunk, row.context, row.decodes][share][row.kv].append(float(np.log(row.factor)))

    def factors(
        self, chunks: Sequence[int], contexts: Sequence[int], decodes: Sequence[int], kvs: Sequence[int]
    ) -> Array:
        """Return a factor for each chunk, context, number of decoding requests and mean context of theirs.

        Logarithms are linear between the logarithms of measured nodes, and go on beyond them as at the last.
        """
        of_chunks = [key for key in self._curves if bool(key[0]) == bool(chunks[0])]
        values = np.zeros((len(chunks), len(contexts), len(decodes), len(kvs)))
        if not of_chunks:
            return np.exp(values)
        nodes = [sorted({key[axis] for key in of_chunks}) for axis in range(3)]
        found = np.array([[[self._mean(m, c, n, kvs) for n in nodes[2]] for c in nodes[1]] for m in nodes[0]])
        found = smoothed(found, (*nodes, kvs))
        nodes[2] = [1, *nodes[2]]  # a single request's context is the mean
        found = np.concatenate([np.zeros_like(found[:, :, :1]), found], axis=2)
        for axis, wanted in enumerate((chunks, contexts, decodes)):
            found = _along(found, axis, nodes[axis], wanted)
        return np.exp(found)

    def describe(self) -> dict[str, float]:
        """Return how much longer than others some contexts are, and the mean share of those."""
        return {"longer_times": self.skew, "share": sum(self.shares) / len(self.shares)}

    def _mean(self, chunk: int, context: int, decodes: int, kvs: Sequence[int]) -> Array:
        """Return the mean logarithm of the factor of a number of requests that come from the populations."""
        curves = self._curves.get((chunk, context, decodes))
        if curves is None:
            return np.full(len(kvs), np.nan)
        shares = sorted(curves)
        measured = np.zeros((len(shares) + 2, len(kvs)))  # where all have the same context, nothing is added
        for place, share in enumerate(shares, start=1):
            means = sorted(curves[share])
            logs = [float(np.mean(curves[share][mean])) for mean in means]
            measured[place] = np.interp(np.log(np.maximum(kvs, 1)), np.log(means), logs)
        drawn = np.arange(decodes + 1) / decodes
        by_drawn = np.stack([np.interp(drawn, [0.0, *shares, 1.0], column) for column in measured.T], axis=1)
        total = np.zeros(len(kvs))
        for share in self.shares:
            total += _odds(decodes, share) @ by_drawn
        return total / len(self.shares)


@cache
def _odds(count: int, share: float) -> Array:
    """Return how likely 0 to `count` of so many are of the kind that has this share: binomial, by logarithms."""
    of_one = np.arange(count + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(of_one[1:]))])
    chosen = factorials[-1] - factorials - factorials[::-1]
    likely: Array = np.exp(chosen + of_one * np.log(share) + of_one[::-1] * np.log1p(-share))
    return likely


def _along(values: Array, axis: int, nodes: Sequence[int], wanted: Sequence[int]) -> Array:
    """Interpolate along an axis between logarithms, counted from the first node above 0."""
    if len(nodes) == 1:
        return np.repeat(values, len(wanted), axis=axis)
    start = min(node for node in nodes if node)
    places, at = np.log(np.array(nodes, float) + start), np.log(np.array(wanted, float) + start)
    return np.apply_along_axis(lambda line: np.interp(at, places, line), axis, values)
