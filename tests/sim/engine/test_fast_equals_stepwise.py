"""Jumping over steps decides the same, at the same times, as taking every step."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.policies import PRESETS, Admission, Order, Policy
from continuum_sim.policies.planes import Gate
from continuum_sim.policies.views import Moment, ProgramView, TurnView
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Program
from support.compare import assert_same_runs
from support.invariants import InvariantObserver
from support.programs import engine, program, turn
from support.rules import Recorder
from support.runs import simulate
from support.steptimes import Bent, affine, constant
from support.strategies import cases, engines, families, policies, tool_configs

Case = tuple[list[Program], EngineConfig]

eighths = st.integers(0, 24).map(lambda k: k / 8)
tenths = st.integers(0, 24).map(lambda k: k / 10)


def check(case: Case, policy: str | Policy, step_time: StepTime) -> None:
    programs, config = case
    stepwise = simulate(programs, policy, config=config, step_time=step_time)
    observer = InvariantObserver(config)
    fast = simulate(programs, policy, config=config, step_time=step_time, stepwise=False, observer=observer)
    assert_same_runs(stepwise, fast)


@settings(max_examples=10)
@given(case=cases(), policy=policies)
def test_with_affine_steps(case: Case, policy: str) -> None:
    check(case, policy, affine())


@settings(max_examples=8)
@given(case=cases(), policy=policies)
def test_with_steps_that_have_no_closed_form(case: Case, policy: str) -> None:
    check(case, policy, Bent())


@settings(max_examples=8)
@given(case=cases(gaps=eighths, arrivals=eighths), policy=policies)
def test_when_everything_coincides(case: Case, policy: str) -> None:
    """Steps, gaps and arrivals are multiples of 1/8 s, which floats add exactly: every tie is a real one."""
    check(case, policy, constant(0.125))


@settings(max_examples=8)
@given(
    case=cases(gaps=tenths, arrivals=tenths),
    # Not policies that weigh seconds against seconds: where two such sums should be equal, rounding decides.
    policy=st.sampled_from(
        ["fcfs", "lru", "program-fifo", "ttl-static", "ttl-static:ttl=0.5,pressure=head", "pin-forever"]
    ),
)
def test_when_everything_coincides_but_for_rounding(case: Case, policy: str) -> None:
    """Multiples of 1/10 s: the sums of the two modes differ in their last bits."""
    check(case, policy, constant(0.1))


# Around the width of an instant and its halves, a thousandth of it, and the width on which keys are rounded.
TINY_S = (0, 1e-12, 1e-10, 2.5e-10, 4e-10, 5e-10, 6e-10, 9e-10, 1e-9, 1.25e-9, 1.5e-9, 1.6e-9, 2e-9, 5e-7)
tiny = st.sampled_from(TINY_S)
nearly = st.one_of(tiny, st.builds(lambda eighth, more: eighth + more, eighths, tiny), st.sampled_from([0.25, 3.0]))
of_tiny_times = st.sampled_from(
    [
        "ttl-static:ttl=5e-10",
        "ttl-static:ttl=1e-9,pressure=head",
        "ttl-static:ttl=1.5e-9,pressure=younger",
        "ttl-static:ttl=0.125",
        "ttl-static:ttl=0.1250000005,pressure=head",
        "session-gate:limit=2",
    ]
)
steps_on_halves = st.sampled_from(
    [constant(0.125), constant(0.0100000005), constant(0.001 + 2.5e-10), affine(1e-2, 1e-4, 1e-7, 1e-9)]
)


@settings(max_examples=10)
@given(case=cases(gaps=nearly, arrivals=nearly), policy=st.one_of(policies, of_tiny_times), step_time=steps_on_halves)
def test_with_gaps_and_steps_that_end_on_parts_of_a_nanosecond(case: Case, policy: str, step_time: StepTime) -> None:
    """Whether or not a step sees events and timers within an instant of its start, both modes agree."""
    check(case, policy, step_time)


@pytest.mark.parametrize("policy", ["lru", "ttl-static:ttl=1e-9"])
@pytest.mark.parametrize("seed", [3, 5, 14, 15])  # of these and others one in five used to differ
def test_many_gaps_within_an_instant(seed: int, policy: str) -> None:
    rng = random.Random(seed)
    programs = []
    for number in range(6):
        turns, left = [], 0
        at = rng.choice([0, 0.125, 0.25]) + rng.choice(TINY_S)
        for index in range(12):
            new, output = rng.randint(1, 20), rng.randint(1, 12)
            gap = 0.0 if index == 11 else rng.choice([0, 0, 0.125]) + rng.choice(TINY_S)
            kept = left if rng.random() < 0.8 else rng.randint(0, left)
            turns.append(turn(kept + new, output, gap=gap, kept=kept))
            left = kept + new + output
        programs.append(program(f"p{number}", *turns, at=at))
    programs.sort(key=lambda made: made.arrival_s or 0.0)
    longest = max(made.max_context_tokens for made in programs)
    config = engine(longest // 2, budget=16 + rng.randint(0, 100), seqs=4, max_model_len=longest)
    steps = [constant(0.125), constant(0.0100000005), constant(0.001 + 2.5e-10), affine(1e-2, 1e-4, 1e-7, 1e-9)]
    check((programs, config), policy, steps[seed % 4])


@settings(max_examples=4)
@given(data=st.data())
def test_with_families_and_tools_within_an_instant(data: st.DataObject) -> None:
    programs = data.draw(families(nearly, nearly))
    config, tools = data.draw(engines(programs)), data.draw(st.none() | tool_configs())
    policy, step_time = data.draw(st.sampled_from(["lru", "ttl", "ttl-static:ttl=1e-9"])), data.draw(steps_on_halves)
    runs = [
        simulate(programs, policy, config=config, step_time=step_time, stepwise=stepwise, tools=tools)
        for stepwise in (True, False)
    ]
    assert_same_runs(*runs)


@pytest.mark.parametrize(
    ("gap_s", "seen"), [(0.0, True), (1e-12, True), (9.9e-10, True), (1e-9, False), (1.6e-9, False)]
)
@pytest.mark.parametrize("step_s", [0.125, 0.0100000005])
def test_a_gap_below_an_instant_is_none(gap_s: float, seen: bool, step_s: float) -> None:
    """The step that starts as a turn ends either includes the next turn or has to pass first."""
    programs = [program("a", turn(4, 7, gap=gap_s), turn(12, 1)), program("b", turn(4, 40))]
    for stepwise in (True, False):
        outcome = simulate(programs, config=engine(20), step_time=constant(step_s), stepwise=stepwise)
        waited_s = outcome.of("a", 1).scheduled_s - outcome.of("a", 0).finish_s
        assert waited_s == pytest.approx(0.0 if seen else step_s, abs=2e-9)


@pytest.mark.slow
@pytest.mark.repeats(share=7)
@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("model", ["affine", "bent", "coinciding"])
def test_every_policy_with_every_model(name: str, model: str) -> None:
    strategy = cases(gaps=eighths, arrivals=eighths) if model == "coinciding" else cases()
    step_time = {"affine": affine(), "bent": Bent(), "coinciding": constant(0.125)}[model]

    @settings(max_examples=50)
    @given(case=strategy)
    def same(case: Case) -> None:
        check(case, name, step_time)

    same()


def test_long_runs_are_few_events() -> None:
    """1,000,000 decode steps of four turns take a handful of jumps and end when they should."""
    programs = [program(name, turn(10, 1_000_000)) for name in "abcd"]
    config = engine(300_000, block_size=16, max_model_len=2_000_000)
    outcome = simulate(programs, config=config, step_time=constant(1e-3), stepwise=False)
    assert len(outcome.stretches) == 2
    assert outcome.totals.steps == 1_000_000
    assert outcome.totals.end_s == pytest.approx(1000.0, rel=1e-12)


def test_a_long_prompt_beside_decodes_is_few_events() -> None:
    """A prompt of 2,000 chunks runs with 5 decoding turns in one jump, except for its first and last chunk."""
    programs = [program(f"d{k}", turn(4, 5000)) for k in range(5)] + [program("long", turn(2000 * 27, 1))]
    config = engine(60_000, budget=32, max_model_len=60_000)
    outcome = simulate(programs, config=config, step_time=affine(), stepwise=False)
    assert outcome.of("long").preemptions == 0
    assert len(outcome.stretches) <= 6
    stepwise = simulate(programs, config=config, step_time=affine())
    assert_same_runs(stepwise, outcome)


# What a policy sees when a turn arrives in the middle of a jump ------------------------------------------


@dataclass(frozen=True)
class Curious(Order):
    """Asks how much of a prompt is cached when it arrives, and records it."""

    sees_cache: ClassVar[bool] = True

    seen: Recorder

    def key(self, turn: TurnView, now_s: float) -> Any:
        self.seen.append((turn.program.program_id, turn.index, turn.cached_tokens))
        return turn.arrival_s


@dataclass(frozen=True)
class Nosy(Admission):
    """Looks at the engine whenever a turn arrives or ends, and at each tick."""

    steady: ClassVar[bool] = True
    period_s = 2.5

    seen: Recorder

    def start(self) -> Gate:
        return self

    def turn_arrived(self, turn: TurnView, moment: Moment) -> None:
        self.seen.look("arrive", moment)

    def turn_ended(self, program: ProgramView, moment: Moment) -> None:
        self.seen.look("end", moment)

    def tick(self, programs: Sequence[ProgramView], moment: Moment) -> None:
        self.seen.look("tick", moment)


def curious(seen: Recorder) -> Policy:
    return Policy("curious", order=Curious(seen))


def nosy(seen: Recorder) -> Policy:
    return Policy("nosy", admission=Nosy(seen))


@pytest.mark.parametrize("watcher", [curious, nosy])
def test_arrivals_in_a_jump_see_the_engine_as_it_is_then(watcher: Callable[[Recorder], Policy]) -> None:
    # c decodes from 0 to 30 s and takes a block every 4 s, at 2, 6, 10 s …; a parks 3 blocks at 1 s and comes back
    # at 26.5 s, when c has 8 of the 9 and so two of a's.
    a, c = program("a", turn(12, 1, gap=25.5), turn(13, 1)), program("c", turn(3, 30))
    step_by_step, jumping = Recorder(), Recorder()
    for seen, stepwise in ((step_by_step, True), (jumping, False)):
        outcome = simulate([a, c], watcher(seen), config=engine(9), stepwise=stepwise)
        assert len(outcome.turns) == 3
    assert step_by_step == jumping
    assert len(jumping) >= 3
    if watcher is curious:
        assert ("a", 1, 4) in jumping


@dataclass(frozen=True)
class FromSeven(Admission):
    """Opens at 7 s, without any event or tick."""

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return turn.program.program_id == "c" or moment.now_s >= 7.0


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_gate_that_is_not_steady_is_asked_at_every_step(stepwise: bool) -> None:
    b, c = program("b", turn(3, 1)), program("c", turn(3, 30))
    outcome = simulate([b, c], Policy("late", admission=FromSeven()), config=engine(20), stepwise=stepwise)
    assert outcome.of("b").scheduled_s == 7.0
    assert outcome.totals.counts.reorders == 1


def test_the_log_counts_the_steps_inside_a_jump() -> None:
    c = program("c", turn(3, 30))
    b = program("b", turn(3, 1), at=12.5)
    for stepwise in (True, False):
        outcome = simulate([c, b], config=engine(12, seqs=1), stepwise=stepwise)
        assert [(e.name, e.step) for e in outcome.log if e.program == "b"] == [
            ("arrive", 12),
            ("admit", 30),
            ("release", 31),
        ]


def test_the_peak_inside_a_jump_is_not_missed() -> None:
    # a pins 10 blocks and gives 9 of them back when it returns at 20.5 s, while c grows to its 8 blocks in one jump.
    a = program("a", turn(40, 1, gap=19.5), turn(8, 1, kept=4))
    c = program("c", turn(3, 30))
    for stepwise in (True, False):
        outcome = simulate([a, c], "pin-forever", config=engine(30), stepwise=stepwise)
        assert outcome.totals.peak_used_blocks == 10 + 6
