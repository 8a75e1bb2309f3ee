from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.steptime.experts import Routing, expected_distinct, filled_rows, popularities


@pytest.mark.parametrize(("tokens", "visited", "count"), [(1, 2, 5), (2, 2, 5), (3, 2, 5), (4, 1, 4), (3, 3, 6)])
def test_the_experts_touched_are_those_of_all_draws(tokens: int, visited: int, count: int) -> None:
    draws = list(product(combinations(range(count), visited), repeat=tokens))
    mean = sum(len(set().union(*draw)) for draw in draws) / len(draws)
    assert expected_distinct(tokens, visited, count) == pytest.approx(mean, rel=1e-12)
    assert Routing(visited, count).distinct(tokens) == expected_distinct(tokens, visited, count)


@pytest.mark.parametrize(("tokens", "count", "skew"), [(1, 4, 1.0), (3, 4, 1.0), (4, 3, 0.5), (3, 5, 2.0)])
def test_uneven_routing_to_one_expert_is_the_mean_over_all_draws(tokens: int, count: int, skew: float) -> None:
    shares = popularities(1, count, skew)
    assert shares[0] / shares[1] == pytest.approx(2**skew)
    mean = 0.0
    for draw in product(range(count), repeat=tokens):
        chance = 1.0
        for expert in draw:
            chance *= shares[expert]
        mean += chance * len(set(draw))
    assert Routing(1, count, skew).distinct(tokens) == pytest.approx(mean, rel=1e-12)


def test_uneven_routing_to_two_of_three_is_the_mean_over_all_pairs() -> None:
    # The pairs' chances follow from the shares, as each expert is left out by one pair.
    a, b, c = popularities(2, 3, 0.4)
    pairs = {(0, 1): 1 - c, (0, 2): 1 - b, (1, 2): 1 - a}
    assert sum(pairs.values()) == pytest.approx(1)
    mean = sum(
        pairs[one] * pairs[other] * pairs[third] * len({*one, *other, *third})
        for one, other, third in product(pairs, repeat=3)
    )
    assert Routing(2, 3, 0.4).distinct(3) == pytest.approx(mean, rel=1e-12)


@given(count=st.integers(2, 200), share=st.floats(0.01, 1), skew=st.floats(0, 5), tokens=st.integers(1, 500))
def test_skew_keeps_the_visits_and_touches_fewer_experts(count: int, share: float, skew: float, tokens: int) -> None:
    visited = max(1, int(share * count))
    shares = popularities(visited, count, skew)
    assert sum(shares) == pytest.approx(visited)
    assert all(0 <= each <= 1 + 1e-9 for each in shares)
    assert list(shares) == sorted(shares, reverse=True)
    even, uneven = Routing(visited, count).distinct(tokens), Routing(visited, count, skew).distinct(tokens)
    assert visited - 1e-6 <= uneven <= even + 1e-6 <= count + 2e-6


def test_an_experts_rows_are_filled_up_to_tiles() -> None:
    # 2,048 tokens on 8 of 128: each expert has 128 on average, in tiles of 128 of which half of one is empty.
    routing = Routing(8, 128)
    assert filled_rows(2048, routing) == pytest.approx(2048 * 8 + 128 * 127 / 2, rel=1e-6)
    assert filled_rows(1, routing) == 8 + 8 * 15 / 2
