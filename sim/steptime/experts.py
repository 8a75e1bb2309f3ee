"""How many experts of a layer a batch touches, if each token is routed to k of n."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import ceil, sqrt
from statistics import NormalDist


def expected_distinct(tokens: int, visited: int, count: int) -> float:
    """Return the mean number of experts that some tokens touch, each of which visits `visited` of `count` at random.

    An expert is missed by one token with probability 1 - k/n, and by t independent ones with that to the power of t.
    """
    return count * (1 - (1 - visited / count) ** tokens)


def popularities(visited: int, count: int, skew: float) -> tuple[float, ...]:
    """Return the share of tokens that visit each expert: proportional to rank^-skew, at most 1, `visited` in all.

    Whatever exceeds 1 goes to the others in proportion, as in sampling with probabilities proportional to size.
    """
    weights = [rank**-skew for rank in range(1, count + 1)]
    full = 0
    while full < visited and weights[full] * (visited - full) > sum(weights[full:]):
        full += 1
    rest = sum(weights[full:])
    return tuple([1.0] * full + [weight * (visited - full) / rest for weight in weights[full:]])


class Routing:
    """Tokens routed to `visited` of `count` experts, some of which may be more popular than others."""

    def __init__(self, visited: int, count: int, skew: float = 0.0) -> None:
        self.visited, self.count = visited, count
        self.shares = popularities(visited, count, skew) if skew else ()

    def distinct(self, tokens: int) -> float:
        """Return the mean number of experts that some tokens touch: by linearity, whatever a token's others are."""
        if not self.shares:
            return expected_distinct(tokens, self.visited, self.count)
        return sum([1 - (1 - share) ** tokens for share in self.shares])


def tile_rows(tokens: int) -> int:
    """Return the rows of a tile of vLLM's grouped matrix product; an expert's tokens are filled up to whole tiles.

    `get_default_config` of vllm/model_executor/layers/fused_moe/fused_moe.py (vLLM 0.32), for bf16 and fp8.
    """
    return 16 if tokens <= 32 else 32 if tokens <= 96 else 64 if tokens <= 512 else 128


def filled_rows(tokens: int, routing: Routing) -> float:
    """Return the rows that a grouped matrix product computes: those routed, and half a tile for each expert touched."""
    return tokens * routing.visited + routing.distinct(tokens) * (tile_rows(tokens) - 1) / 2


@cache
def expected_largest(count: int) -> float:
    """Return the mean of the largest of some independent standard normal numbers: ∫ x dΦ(x)^n, by quadrature."""
    if count == 1:
        return 0.0
    normal, edges = NormalDist(), [i / 500 for i in range(-4000, 4001)]
    powers = [normal.cdf(edge) ** count for edge in edges]
    return sum([(a + b) / 2 * (up - low) for (a, b), (low, up) in zip(pairwise(edges), pairwise(powers), strict=True)])


def busiest(tokens: int, routing: Routing, ways: int) -> tuple[float, float]:
    """Return the rows routed to the busiest of some GPUs with equally many experts, and the experts touched there.

    All others wait for it at the end of each mixture. Rows of a GPU and experts touched are sums of many nearly
    independent choices, so about normal, with the means and variances of those; if some experts are more popular,
    each GPU is taken to have as many of these as the others.
    """
    here = ceil(routing.count / ways)
    share, seen = here / routing.count, routing.distinct(tokens) / routing.count
    routed, above = tokens * routing.visited, expected_largest(ways)
    rows = routed * share + above * sqrt(routed * share * (1 - share))
    touched = here * seen + above * sqrt(here * seen * (1 - seen))
    return min(rows, float(tokens * min(routing.visited, here))), min(touched, float(here))


def routings(pairs: Sequence[tuple[int, int]], skew: float) -> dict[tuple[int, int], Routing]:
    """Return one routing for each different (visited, count)."""
    return {pair: Routing(*pair, skew) for pair in dict.fromkeys(pairs)}
