"""Times of a layer's experts from a measured table, over tokens and the experts that these touch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from continuum_sim.steptime.experts import Routing, busiest


@dataclass(frozen=True)
class ExpertTable:
    """One layer's experts, in seconds: for each number of tokens, over the number of experts touched."""

    tokens: tuple[int, ...]
    rows: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]
    """For each number of tokens: experts touched, and the times with them."""

    def time_s(self, tokens: float, touched: float) -> float:
        """Return the time at a place in the table, linear along both axes, the last intervals going on beyond it."""
        if not tokens:
            return 0.0
        at = [_at(*row, touched) for row in self.rows]
        return _at(self.tokens, at, max(tokens, self.tokens[0]))


class Experts:
    """All layers' experts, with the experts that tokens touch on average if routers spread them evenly."""

    def __init__(self, table: ExpertTable, visited: int, count: int, layers: int, ways: int = 1) -> None:
        self.table, self.layers, self.ways = table, layers, ways
        self.routing = Routing(visited, count)
        self._known: dict[int, float] = {}

    def time_s(self, tokens: int) -> float:
        """Return the seconds of some tokens in all layers, on the busiest of the GPUs that share whole experts."""
        found = self._known.get(tokens)
        if found is None:
            here, touched = float(tokens), self.routing.distinct(tokens)
            if self.ways > 1 and tokens:
                rows, touched = busiest(tokens, self.routing, self.ways)
                here = rows / self.routing.visited
            found = self.layers * self.table.time_s(here, touched)
            self._known[tokens] = found
        return found


def _at(nodes: Sequence[int], values: Sequence[float], place: float) -> float:
    if len(nodes) == 1:
        return values[0]
    i = min(max(bisect_right(nodes, place) - 1, 0), len(nodes) - 2)
    share = (place - nodes[i]) / (nodes[i + 1] - nodes[i])
    return max(0.0, values[i] + share * (values[i + 1] - values[i]))
