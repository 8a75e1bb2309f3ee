"""Step times interpolated from tables of a model that is too slow, or not smooth enough, to be asked at every step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from continuum_sim.steptime.batch import StepBatch, grown
from continuum_sim.steptime.beside import Beside
from continuum_sim.steptime.piecewise import Piece, PiecewiseStepTime

Array = NDArray[np.float64]
Ask = Callable[[int, int, int, int, int], float]
"""(prefill requests, new tokens, tokens they attend to, decode requests, tokens they attend to) -> seconds."""


def _ladder(most: int, per_doubling: int) -> tuple[int, ...]:
    """Return whole numbers from 1 to `most`, `per_doubling` of them in each doubling."""
    shares = [1 + place / per_doubling for place in range(per_doubling)]
    steps = {round(2**octave * share) for octave in range(most.bit_length()) for share in shares}
    return tuple(sorted(step for step in steps if step <= most))


# Kernels work in tiles and times jump where a new tile begins, so the nodes are close.
TOKENS: Final = _ladder(16384, 8)
REQUESTS: Final = _ladder(1024, 8)
PROMPTS: Final = (32, 16, 8, 4, 2, 1)
_SHARES: Final = tuple(1 / prompts for prompts in PROMPTS)
CONTEXTS: Final = (
    *(0, 1, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152, 65536),
    *(98304, 131072),
)


@dataclass(frozen=True)
class StepTables:
    """Seconds of a step, in tables of what depends on the same quantities.

    A step with prompts and decoding requests takes prefill + decode - overlap: the weights are read once, not twice.
    How much that saves depends on tokens and requests, not on contexts.
    """

    prefill_s: Array
    """[prompts, new tokens, context of each prompt]: a step of prompts alone."""
    decode_s: Array
    """[requests, context of each]: a step of decoding requests alone."""
    overlap_s: Array
    """[new tokens, requests]: what a mixed step saves compared with two separate steps."""
    all_reduce_s: Array = field(default_factory=lambda: np.zeros(0))
    """[tokens]: what of it are all-reduces; empty if not asked for."""


def sample(ask: Ask) -> StepTables:
    """Ask for every node of the tables, some 20,000 steps."""
    prefill = [[[ask(p, max(t, p), p * c, 0, 0) for c in CONTEXTS] for t in TOKENS] for p in PROMPTS]
    decode = [[ask(0, 0, 0, n, n * max(c, 1)) for c in CONTEXTS] for n in REQUESTS]
    # At one context, because the saving does not depend on it.
    at = 1024
    alone = [ask(1, t, 0, 0, 0) for t in TOKENS]
    beside = [ask(0, 0, 0, n, n * at) for n in REQUESTS]
    overlap = [
        [alone[i] + beside[j] - ask(1, t, 0, n, n * at) for j, n in enumerate(REQUESTS)] for i, t in enumerate(TOKENS)
    ]
    return StepTables(np.array(prefill), np.array(decode), np.array(overlap))


class Gridded(PiecewiseStepTime):
    """Tables of a step's time, linear between their nodes, so that a run has a closed form between contexts.

    New tokens, requests and contexts enter linearly; the number of prompts in a step enters by its inverse, as their
    query-key pairs do. Beyond the last node the last interval is extrapolated.
    """

    def __init__(
        self,
        tables: StepTables,
        host_overhead_s: float,
        about: Mapping[str, Any],
        added_s: Array | None = None,
        beside: Beside | None = None,
    ) -> None:
        self.tables, self.host_overhead_s, self.about = tables, host_overhead_s, about
        self.added_s = added_s
        """[tokens]: what comes on top of the tables, such as other links less the tables' own."""
        self.beside = beside
        self._curves: dict[tuple[int, int], _Curve] = {}

    def pieces(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Cut where a context passes a node; between cuts a step's time is affine."""
        prefills, chunk, context, _, decodes, decode_context = batch
        fixed_s = self.host_overhead_s
        lines: list[tuple[_Curve, float, float]] = []  # with the context of the first step, and its growth per step
        if chunk:
            lines.append((self._curve(prefills, chunk), context / prefills, chunk / prefills))
        if decodes:
            lines.append((self._curve(0, decodes), decode_context / decodes, 1.0))
        if self.added_s is not None:
            fixed_s += _between(self.added_s, _place(TOKENS, chunk + decodes))
        if chunk and decodes:
            fixed_s -= _between(self.tables.overlap_s, _place(TOKENS, chunk), _place(REQUESTS, decodes))
        mixed = self.beside if chunk and decodes else None
        cuts = {0, n_steps} if mixed is None else set(range(n_steps + 1))
        if n_steps > 1 and mixed is None:
            for _, start, growth in lines:
                cuts.update(_crossings(start, growth, n_steps))
        ordered = sorted(cuts)
        pieces = []
        for first, end in pairwise(ordered):
            first_s, slope_s = fixed_s, 0.0
            if mixed is not None:
                first_s += mixed(grown(batch, first))
            for (values, slopes), start, growth in lines:
                # Within half a step no context passes another node, unless the piece is a single step.
                at = start + (first + (0.5 if end - first > 1 else 0.0)) * growth
                i = min(max(bisect_right(CONTEXTS, at) - 1, 0), len(CONTEXTS) - 2)
                first_s += values[i] + slopes[i] * (start + first * growth - CONTEXTS[i])
                slope_s += slopes[i] * growth
            pieces.append((end - first, first_s, slope_s, 0.0))
        return pieces

    def describe(self) -> dict[str, Any]:
        """Return the origin of the tables, and the overhead added."""
        return {**self.about, "host_overhead_s": self.host_overhead_s}

    def _curve(self, prefills: int, count: int) -> _Curve:
        """Return seconds over the context, for `count` new tokens of some prompts, or `count` decoding requests."""
        key = (prefills, count)
        found = self._curves.get(key)
        if found is None:
            if prefills:
                values = _between(self.tables.prefill_s, _place(_SHARES, 1 / prefills), _place(TOKENS, count))
            else:
                values = _between(self.tables.decode_s, _place(REQUESTS, count))
            slopes = np.diff(values) / np.diff(CONTEXTS)
            found = self._curves[key] = (values.tolist(), slopes.tolist())
        return found


_Curve = tuple[list[float], list[float]]
"""Values at the nodes of `CONTEXTS`, and slopes from each to the next."""


def _place(nodes: Sequence[float], at: float) -> tuple[int, float]:
    """Return the node below, and the distance from it as a share of the interval; beyond the last node, above 1."""
    i = min(max(bisect_right(nodes, at) - 1, 0), len(nodes) - 2)
    return i, (at - nodes[i]) / (nodes[i + 1] - nodes[i])


def _between(table: Any, *places: tuple[int, float]) -> Any:
    """Interpolate along the first axes of a table."""
    for i, share in places:
        # One axis at a time, which makes the next axis the first.
        table = table[i] + share * (table[i + 1] - table[i])
    return table


def _crossings(start: float, growth: float, n_steps: int) -> Iterator[int]:
    """Yield the steps at which a context passes another node."""
    first = bisect_right(CONTEXTS, start)
    for node in CONTEXTS[first:-1]:
        step = ceil((node - start) / growth)
        if step >= n_steps:
            return
        yield step
