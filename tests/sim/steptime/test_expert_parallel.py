"""Mixtures on several ranks: who holds which experts, what ranks exchange, and what steps take together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.weights import Stored, Weight
from continuum_sim.steptime import NO_WORK, Roofline, StepBatch, grown
from continuum_sim.steptime.experts import Routing, busiest, expected_largest, filled_rows, tile_rows
from continuum_sim.steptime.ranked import DUMMY, at_least
from support.configurations import configured
from support.toy_gpu import GPU, MODEL

DECODE = StepBatch(0, 0, 0, 0, 8, 800)
LATENCY_S, BYTES = 5e-6, 60e9
LINK = "latency_us=5,bandwidth_gbps=60"
OF_ONE = 2 * 2 * 32 * 64
"""Elements of an expert of the toy mixture: two matrices in each of two layers."""


def mixture(visited: int = 2, count: int = 16, **of_weights: Any) -> Any:
    experts = [
        Weight("up_proj", 32, 64, (0, 1), count, parts=32, use="expert", visited=visited, **of_weights),
        Weight("down_proj", 64, 32, (0, 1), count, parts=32, use="expert", visited=visited, **of_weights),
    ]
    return replace(MODEL, weights=(*MODEL.weights, *experts))


def split(size: int = 1, ranks: int = 1, experts: bool = False, **given: Any) -> Parallel:
    return Parallel(size, data_parallel_size=ranks, enable_expert_parallel=experts, link=LINK, **given)


def parts(parallel: Parallel, batch: StepBatch = DECODE, **of_weights: Any) -> dict[str, Any]:
    return {part.name: part for part in Roofline(mixture(**of_weights), GPU, parallel).parts(batch)}


@pytest.mark.parametrize("count", [2, 8, 64])
def test_the_largest_of_some_normal_numbers(count: int) -> None:
    drawn = np.random.default_rng(0).standard_normal((200_000, count)).max(axis=1)
    assert expected_largest(count) == pytest.approx(drawn.mean(), rel=0.005)
    assert expected_largest(1) == 0.0


@pytest.mark.parametrize(
    ("tokens", "visited", "count", "ways"), [(64, 8, 256, 8), (512, 8, 128, 4), (2000, 4, 128, 16)]
)
def test_the_busiest_gpu_is_as_in_random_draws(tokens: int, visited: int, count: int, ways: int) -> None:
    """All wait for the GPU with most rows: within 2 % of the mean of 200 draws."""
    random = np.random.default_rng(1)
    rows, touched = [], []
    for _ in range(200):
        chosen = random.random((tokens, count)).argpartition(visited, axis=1)[:, :visited]
        of_each = np.bincount(chosen.ravel(), minlength=count).reshape(ways, -1)
        rows.append(of_each.sum(axis=1).max())
        touched.append((of_each > 0).sum(axis=1).max())
    assert busiest(tokens, Routing(visited, count), ways) == pytest.approx((np.mean(rows), np.mean(touched)), rel=0.025)


def test_without_expert_parallelism_all_gpus_have_a_part_of_every_expert() -> None:
    one, ranks = parts(split()), parts(split(ranks=4))
    routing, all_tokens = Routing(2, 16), 4 * 8
    assert ranks["experts"].memory_s == pytest.approx(OF_ONE / 4 * 2 * routing.distinct(all_tokens) / 1e9, rel=1e-12)
    assert ranks["experts"].compute_s == pytest.approx(2 * OF_ONE / 4 * filled_rows(all_tokens, routing) / 1e12)
    assert ranks["linear"] == one["linear"]
    assert ranks["attention_decode"] == one["attention_decode"]
    both = parts(split(size=2, ranks=2))
    assert both["experts"].memory_s == pytest.approx(OF_ONE / 4 * 2 * routing.distinct(16) / 1e9, rel=1e-12)


def test_with_expert_parallelism_a_gpu_has_some_of_the_experts_whole() -> None:
    for parallel, all_tokens in ((split(size=4, experts=True), 8), (split(ranks=4, experts=True), 32)):
        rows, touched = busiest(all_tokens, Routing(2, 16), 4)
        assert 1 < touched <= 4
        found = parts(parallel)["experts"]
        assert found.memory_s == pytest.approx(OF_ONE * 2 * touched / 1e9, rel=1e-12)
        filled = rows + touched * (tile_rows(all_tokens) - 1) / 2
        assert found.compute_s == pytest.approx(2 * OF_ONE * filled / 1e12, rel=1e-12)


@pytest.mark.parametrize(("stored", "sent"), [({}, 2), ({"stored": Stored("fp8", 8, computed="fp8")}, 1)])
def test_by_default_all_gather_all_tokens_and_reduce_what_comes_back(stored: dict[str, Any], sent: float) -> None:
    """Four ranks: two layers of an all-gather of tokens with their routes, and a reduce-scatter."""
    there, back = 32 * (64 * sent + 2 * 8), 32 * 64 * 2
    for experts in (False, True):
        found = parts(split(ranks=4, experts=experts), **stored)
        assert found["exchange"].latency_s == pytest.approx(2 * 2 * LATENCY_S)
        assert found["exchange"].memory_s == pytest.approx(2 * 3 / 4 * (there + back) / BYTES)
        assert "all_reduce" not in found


def test_ranks_of_several_gpus_dispatch_a_part_each_and_gather_it() -> None:
    without, dispatched = parts(split(size=2, ranks=2)), parts(split(size=2, ranks=2, experts=True))
    # All-reduces after attention, after the toy's MLP beside the mixture, and after the embedding.
    assert without["all_reduce"].latency_s == pytest.approx(5 * LATENCY_S)
    assert dispatched["all_reduce"].latency_s == pytest.approx(3 * LATENCY_S)
    there, back = 16 * (64 * 2 + 2 * 8), 16 * 64 * 2
    assert without["exchange"].memory_s == pytest.approx(2 * (1 / 2 * there + 1 / 2 * back) / BYTES)
    own = 8 * 64 * 2  # gathered by the two GPUs of a rank
    assert dispatched["exchange"].memory_s == pytest.approx(2 * (3 / 4 * (there + back) + 1 / 2 * own) / BYTES)
    assert dispatched["exchange"].latency_s == pytest.approx(2 * 3 * LATENCY_S)


def test_deepep_sends_copies_to_experts_or_to_their_gpus() -> None:
    low = parts(split(ranks=4, experts=True, all2all_backend="deepep_low_latency"))["exchange"]
    assert low.latency_s == pytest.approx(2 * 2 * LATENCY_S)
    assert low.memory_s == pytest.approx(2 * 8 * 2 * (64 * 2 + 64 * 2) / BYTES)
    high = parts(split(ranks=4, experts=True, all2all_backend="deepep_high_throughput"))["exchange"]
    assert high.memory_s == pytest.approx(2 * 8 * 4 * (1 - (3 / 4) ** 2) * (64 * 2 + 64 * 2) / BYTES)
    with pytest.raises(ConfigError, match="deepep_low_latency needs --enable-expert-parallel and --data-parallel-size"):
        parts(split(size=4, experts=True, all2all_backend="deepep_low_latency"))
    with pytest.raises(ConfigError, match="all2all_backend is 'pplx', expected one of allgather_reducescatter, "):
        split(all2all_backend="pplx")


def test_dense_ranks_do_not_wait_for_one_another() -> None:
    alone, ranks = Roofline(MODEL, GPU), Roofline(MODEL, GPU, split(ranks=8))
    assert ranks.step_s(DECODE) == alone.step_s(DECODE)


REAL = Roofline(
    configured("deepseek-v3"),
    find_gpu("h200"),
    Parallel(data_parallel_size=8, enable_expert_parallel=True),
)
FEW, MANY = StepBatch(0, 0, 0, 0, 16, 16 * 4000), StepBatch(0, 0, 0, 0, 64, 64 * 4000)


def test_a_step_of_all_ranks_is_that_of_the_slowest_and_what_all_do() -> None:
    assert REAL.together_s([MANY] * 8) == pytest.approx(REAL.step_s(MANY), rel=1e-12)
    # Graphs pad all ranks to as many tokens: one that has none saves the others nothing.
    assert REAL.together_s([MANY] + [NO_WORK] * 7) == pytest.approx(REAL.step_s(MANY), rel=1e-12)
    prompt = StepBatch(1, 4096, 0, 4096 * 4097 // 2, 0, 0)
    beside = REAL.together_s([prompt] + [MANY] * 7)
    assert REAL.together_s([prompt] + [DUMMY] * 7) < beside < REAL.step_s(prompt)
    assert beside > REAL.step_s(MANY)


def test_runs_of_ranks_are_their_steps_one_by_one() -> None:
    batches = [FEW, StepBatch(0, 0, 0, 0, 15, 15 * 30_000), MANY, NO_WORK]
    seconds = REAL.together_runs_s(batches, 200)
    by_hand = [
        REAL.together_s([batch if batch == NO_WORK else grown(batch, j) for batch in batches]) for j in (0, 1, 99, 199)
    ]
    np.testing.assert_allclose(seconds[[0, 1, 99, 199]], by_hand, rtol=1e-9)
    idle = REAL.together_runs_s([NO_WORK] * 8, 100)
    assert idle.tolist() == [REAL.together_s([NO_WORK] * 8)] * 100, "a dummy step has no context that grows"
    assert REAL.together_runs_s([MANY] * 8, 100).sum() == pytest.approx(REAL.run_s(MANY, 100), rel=1e-9)


def test_a_split_that_is_none_costs_nothing() -> None:
    model = find_model("qwen3-30b-a3b")
    one = Roofline(model, find_gpu("h100"))
    assert Roofline(model, find_gpu("h100"), Parallel(enable_expert_parallel=True)).step_s(MANY) == pytest.approx(
        one.step_s(MANY), rel=1e-12
    )


def test_two_halves_hide_the_exchange_or_the_computing() -> None:
    """The longer of both, whose weights are read twice; small batches, and ranks that lack work, are not halved."""
    given = {"data_parallel_size": 8, "enable_expert_parallel": True, "all2all_backend": "deepep_low_latency"}
    model, gpu = configured("deepseek-v3"), find_gpu("h200")
    whole, halves = (Roofline(model, gpu, Parallel(**given, enable_dbo=dbo)) for dbo in (False, True))
    latency_s, token_s = whole.told.exchange

    def computing_s(batch: StepBatch, tokens: int) -> float:
        return whole.step_s(batch) - latency_s - token_s * 8 * tokens

    attention_s = sum(part.seconds for part in whole.parts(MANY) if part.name == "attention_decode")
    half = StepBatch(0, 0, 0, 0, 32, 32 * 4000)
    expected = max(2 * computing_s(half, 32), 2 * latency_s + token_s * 8 * 64)
    assert halves.step_s(MANY) == pytest.approx(expected, rel=1e-9)
    assert attention_s > 0
    assert halves.step_s(FEW) == whole.step_s(FEW)
    assert halves.together_s([MANY] * 7 + [NO_WORK]) == whole.together_s([MANY] * 7 + [NO_WORK])
    slow = replace(gpu, link="latency_us=100,bandwidth_gbps=1")
    bound = Roofline(model, slow, Parallel(**given, enable_dbo=True))
    latency_s, token_s = bound.told.exchange
    assert bound.step_s(MANY) == pytest.approx(2 * latency_s + token_s * 8 * 64, rel=1e-12)
    assert bound.run_s(MANY, 10) == pytest.approx(10 * bound.step_s(MANY), rel=1e-12)
    with pytest.raises(ConfigError, match="allgather_reducescatter is not supported"):
        Roofline(model, gpu, Parallel(data_parallel_size=8, enable_expert_parallel=True, enable_dbo=True))


def test_pieces_are_raised_where_they_are_below() -> None:
    raised = at_least([(4, 1.0, 1.0, 0.0), (3, 6.0, 0.5, 0.0)], 2.5)
    assert raised == [(2, 2.5, 0.0, 0.0), (2, 3.0, 1.0, 0.0), (3, 6.0, 0.5, 0.0)]
    assert at_least([(2, 1.0, 0.0, 0.0)], 2.5) == [(2, 2.5, 0.0, 0.0)]
    assert at_least([(2, 3.0, 0.0, 0.0)], 2.5) == [(2, 3.0, 0.0, 0.0)]
