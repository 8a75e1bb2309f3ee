from __future__ import annotations

from dataclasses import replace

import pytest

from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.policies import Fate, PinFor, PolicyError
from continuum_sim.policies.rules.infercept import Infercept
from continuum_sim.policies.views import Foresight
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed, HandEngine, HandTier
from support.programs import engine, program, turn
from support.runs import simulate
from support.steptimes import affine

# With S = 100 a step of S tokens takes T = 1 + 0.01·100 = 2 s, a = 0.01 s. C = 250. 1000 - 600 - 250 = 150 tokens run
# in 20 turns, so h = 80, n = ⌈250/80⌉ - 1 = 3. Idle: 2 · 3·4/2 · 80 = 960. Slowed: 0.01·80·3·150 + 0.01·10·150 = 375.
WORTH_S = (960 + 375) / 250


def busy() -> HandEngine:
    return HandEngine(1000, 1, free_blocks=600, pinned_blocks=250, num_running=20, per_step_s=1.0)


def test_what_a_context_is_worth() -> None:
    rule = Infercept(saturation=100)
    assert rule.worth_s(250, busy()) == pytest.approx(WORTH_S)
    # 80 tokens come back in one chunk: nothing sits idle, and only the running turns are slowed.
    assert rule.worth_s(80, busy()) == pytest.approx(0.01 * 150)
    assert rule.worth_s(0, busy()) == 0
    crowded = busy()
    crowded.num_running = 100  # h = 1
    assert rule.worth_s(3, crowded) == pytest.approx((2 * 3 + 0.01 * 3 * 150) / 3)


def test_keeps_for_as_long_as_it_has_been_worth_it() -> None:
    bench = Governed("infercept:saturation=100", busy())
    assert bench.end(bench.run("p", 0.0), 10.0, 250) == PinFor(float("inf"))
    assert bench.step(10.0) == []
    assert bench.governor.next_event_s() == pytest.approx(10 + WORTH_S)
    assert bench.step(10 + WORTH_S - 0.01) == []
    assert bench.step(10 + WORTH_S + 0.01) == ["p"]
    assert bench.governor.next_event_s() == float("inf")


def test_thinks_again_when_turns_end_or_grow() -> None:
    bench = Governed("infercept:saturation=100", busy())
    bench.end(bench.run("p", 0.0), 10.0, 250)
    bench.engine.free_blocks = 500
    assert bench.step(10 + WORTH_S + 0.1) == [], "100 more running tokens: 1 s more"
    bench.engine.free_blocks, bench.engine.num_running = 750, 0  # h = 100, n = 2: 2 · 3 · 100 / 250 = 2.4 s
    assert bench.step(12.3) == []
    assert bench.step(12.5) == ["p"]


def test_never_gives_up_a_context_whose_turn_waits() -> None:
    bench = Governed("infercept:saturation=100", busy())
    bench.live("p", 0.0, 10.0, 250)
    bench.arrive("p", 11.0)
    assert bench.step(1000.0) == []


def test_the_oracle_weighs_the_true_gap() -> None:
    def decide(gap_s: float) -> object:
        bench = Governed("infercept-oracle:saturation=100", busy())
        return bench.end(bench.run("p", 0.0), 10.0, 250, foresight=Foresight(gap_s, 1, 1))

    assert decide(WORTH_S - 0.01) == PinFor(float("inf"))
    assert decide(WORTH_S + 0.01) is Fate.RELEASE


def test_the_oracle_weighs_what_is_left_of_it() -> None:
    bench = Governed("infercept-oracle:saturation=100", busy())
    bench.end(bench.run("p", 0.0), 10.0, 250, foresight=Foresight(5.0, 1, 1))
    bench.engine.free_blocks, bench.engine.num_running = 750, 0  # worth 2.4 s now
    assert bench.step(12.7) == [], "2.3 s are left"
    assert bench.step(12.5) == ["p"], "2.5 s are left"


def test_a_fit_that_falls_with_length_makes_no_context_worth_less_as_turns_grow() -> None:
    # Steps of a second each: 202 tokens take one and 206 two, and the quadratic through that falls up to 8 tokens.
    programs = [
        program("works", turn(8, 120), at=0.0),
        program("long", turn(50, 2, gap=100.0), turn(54, 2), at=0.0),
    ]
    config = engine(67, budget=202, max_model_len=206)
    single, jumped = (
        simulate(programs, "infercept:saturation=8", config=config, stepwise=stepwise) for stepwise in (True, False)
    )
    given_up = single.events("expire")
    assert [who for _, _, who, _ in given_up] == ["long"]
    assert jumped.events("expire") == given_up


def test_short_calls_are_kept_and_long_ones_are_not_in_a_run() -> None:
    # Recomputing 303 tokens in chunks of 63 wastes about 60 token-seconds: worth 0.2 s of keeping them.
    programs = [
        program("works", turn(40, 400), at=0.0),
        program("short", turn(300, 4, gap=0.1), turn(320, 4), at=0.0),
        program("long", turn(300, 4, gap=60.0), turn(320, 4), at=0.0),
    ]
    for policy in ("infercept:saturation=64", "infercept-oracle:saturation=64"):
        run = simulate(programs, policy, config=engine(400, max_model_len=512), step_time=affine())
        assert run.totals.counts.pins_hit == 1
        assert run.totals.counts.pins_expired == (policy == "infercept:saturation=64")

    assert run.simulation.policy.oracle


def above_host_memory(**state: float) -> Governed:
    bench = Governed("infercept:saturation=100", busy())
    bench.engine.tier = HandTier(**state)  # type: ignore[arg-type]
    return bench


def test_swaps_what_wastes_most_while_the_link_is_idle() -> None:
    bench = above_host_memory()
    for name, end_s, context in (("old", 9.0, 100), ("large", 10.0, 250), ("late", 11.0, 240)):
        bench.live(name, 0.0, end_s, context)
    # At 12 s keeping wastes 3·100, 2·250 and 1·240 token-seconds so far, and nobody's discarding less.
    assert bench.step(12.0) == ["large"] == bench.contexts.offloaded
    bench.engine.tier.link_free_s = 12.04  # type: ignore[union-attr]
    assert bench.step(12.02) == [], "the link is busy with it"
    assert bench.governor.next_event_s() == pytest.approx(12.04)
    assert bench.step(12.04) == ["old"], "3.04·100 against 1.04·240"
    assert bench.governor.counts.offloads == 2


def test_swaps_nothing_for_which_there_is_no_room() -> None:
    bench = above_host_memory(free_blocks=249)
    bench.live("p", 0.0, 10.0, 250)
    assert bench.step(11.0) == []
    assert bench.step(10 + WORTH_S + 0.01) == ["p"], "given up instead"
    assert bench.governor.counts.offloads == 0


def test_what_has_wasted_nothing_yet_is_not_swapped() -> None:
    bench = above_host_memory()
    bench.live("p", 0.0, 10.0, 250)
    assert bench.step(10.0) == []
    assert bench.governor.next_event_s() == pytest.approx(10.0, abs=1e-5)
    assert bench.step(10.1) == ["p"]


def test_swapped_contexts_come_back_and_nothing_else_goes_down() -> None:
    programs = [
        program("works", turn(40, 400), at=0.0),
        program("long", turn(300, 4, gap=6.0), turn(320, 4), at=0.0),
        program("big", turn(900, 4), at=3.0),
    ]
    config = replace(engine(330, max_model_len=1024), tiers=TierConfig(400, 1e-4, reload="always"))
    run = simulate(programs, "infercept:saturation=64", config=config, step_time=affine())
    assert [(name, who) for name, _, who, _ in run.events("offload", "expire")] == [("offload", "long")]
    assert run.of("long", 1).reloaded_tokens > 0
    assert run.totals.tiers[0].written_blocks == 303 // 4, "full blocks of the one context that was swapped"


def test_refuses_a_saturation_of_zero() -> None:
    with pytest.raises(PolicyError, match="saturation is 0"):
        parse_policy("infercept:saturation=0")
