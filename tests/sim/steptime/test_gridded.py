"""Interpolated step times: exact where the source is as straight as the grid assumes, and cheap to ask."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.steptime import StepBatch
from continuum_sim.steptime.gridded import CONTEXTS, PROMPTS, REQUESTS, TOKENS, Gridded, sample


def straight(prefills: int, tokens: int, context: int, decodes: int, decode_context: int) -> float:
    """Seconds, affine in all that the grid interpolates: reading the weights is paid once a step."""
    seconds = 4e-3 + 2e-5 * (tokens + decodes)
    if tokens:
        # Tokens attend to the context of their own prompt.
        seconds += 1e-9 * tokens * context / prefills
    return seconds + 3e-8 * decode_context


STRAIGHT = Gridded(sample(straight), 0.25e-3, {"kind": "straight"})


def batch(prefills: int, tokens: int, context: int, decodes: int, decode_context: int) -> StepBatch:
    return StepBatch(prefills, tokens, context, 0, decodes, decode_context)


@given(
    st.sampled_from([1, 2, 3, 5, 40]),
    st.integers(64, 20_000),
    st.integers(0, 200_000),
    st.integers(0, 2000),
    st.integers(1, 150_000),
)
def test_a_source_that_is_straight_is_met_exactly(p: int, tokens: int, context: int, n: int, each: int) -> None:
    step = (p, tokens, p * context, n, n * each)
    assert STRAIGHT.step_s(batch(*step)) == pytest.approx(straight(*step) + 0.25e-3, rel=1e-9)


@given(st.integers(1, 2000), st.integers(1, 150_000))
def test_decoding_alone_too(n: int, each: int) -> None:
    assert STRAIGHT.step_s(batch(0, 0, 0, n, n * each)) == pytest.approx(straight(0, 0, 0, n, n * each) + 0.25e-3)


def test_nodes_are_met_whatever_the_source() -> None:
    def odd(*step: int) -> float:
        return 1e-3 + (hash(step) % 1000) / 1e6

    gridded = Gridded(sample(odd), 0.0, {})
    for n in (1, 96, 1024):
        for context in (256, 8192, 131072):
            assert gridded.step_s(batch(0, 0, 0, n, n * context)) == pytest.approx(odd(0, 0, 0, n, n * context))
    for p in (1, 2, 32):
        for tokens in (64, 2048, 16384):
            step = (p, tokens, p * 4096, 0, 0)
            assert gridded.step_s(batch(*step)) == pytest.approx(odd(*step))
    both = (1, 2048, 0, 16, 16 * 1024)
    assert gridded.step_s(batch(*both)) == pytest.approx(odd(*both))


def test_a_run_has_a_piece_for_each_stretch_between_nodes_and_no_more() -> None:
    assert len(STRAIGHT.pieces(batch(0, 0, 0, 8, 8 * 3072), 1024)) == 1
    # From a context of 3,000 on, 5,001 steps pass the nodes at 3,072, 4,096 and 6,144.
    lengths = [piece[0] for piece in STRAIGHT.pieces(batch(0, 0, 0, 8, 8 * 3000), 5001)]
    assert lengths == [72, 1024, 2048, 1857]
    # A prompt in chunks of 1,000 passes nodes at steps of its own.
    mixed = STRAIGHT.pieces(batch(1, 1000, 3000, 8, 8 * 3000), 100)
    assert sum(piece[0] for piece in mixed) == 100
    assert len(mixed) == len({1, 2, 4, 6, 10, 14, 22, 30, 47, 63, 72, 96}) + 1


def test_a_run_of_one_step_after_another_adds_up_to_the_run() -> None:
    start = (1, 700, 2000, 3, 9000)
    steps = [straight(1, 700, 2000 + 700 * j, 3, 9000 + 3 * j) + 0.25e-3 for j in range(200)]
    assert STRAIGHT.run_s(batch(*start), 200) == pytest.approx(sum(steps))
    assert STRAIGHT.steps_to_reach(batch(*start), 200, sum(steps[:77]) - 1e-6) == 77
    assert STRAIGHT.steps_to_reach(batch(*start), 200, inf) == 200


def test_the_grid_covers_what_engines_are_set_to() -> None:
    assert (TOKENS[0], TOKENS[-1]) == (1, 16384)
    assert (REQUESTS[0], REQUESTS[-1]) == (1, 1024)
    assert CONTEXTS[-1] == 131072
    assert list(PROMPTS) == sorted(PROMPTS, reverse=True)
