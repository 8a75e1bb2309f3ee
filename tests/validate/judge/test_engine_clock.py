"""Where the simulator must place the events on an engine's clock."""

from __future__ import annotations

import pytest

from continuum_sim.results.decisions import DecisionRecord
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.validate.judge.engine_clock import EngineClock, EngineLog, EngineTimes
from continuum_sim.validate.steplog import LoggedStep

DECODE = StepBatch(0, 0, 0, 0, 1, 100)
NOTHING = StepBatch(0, 0, 0, 0, 0, 0)


def step(start_s: float, end_s: float, unfinished: int = 1, batch: StepBatch = DECODE) -> LoggedStep:
    return LoggedStep(start_s, start_s, end_s - 0.01, end_s, batch, unfinished)


# The replay starts at 10 s. One step alone, a pause, then two in a row; 0.1 s between the steps of a busy engine.
STEPS = [step(9.0, 9.5, 0), step(10.2, 11.0, 0), step(11.05, 11.1, 0, NOTHING), step(13.0, 14.0), step(14.1, 15.0, 0)]


def clock(*times: EngineTimes, decisions: tuple[DecisionRecord, ...] = ()) -> EngineClock:
    return EngineClock(EngineLog(STEPS, times, 10.0, decisions))


def test_steps_before_the_replay_and_empty_ones_do_not_count() -> None:
    found = clock(EngineTimes("a", 0, 10.1, 10.99), EngineTimes("b", 0, 12.9, 14.99)).steps
    assert [(one.end_s, one.seconds) for one in found] == [
        (pytest.approx(1.0), pytest.approx(0.8)),
        (pytest.approx(4.0), pytest.approx(1.0)),
        (pytest.approx(5.0), pytest.approx(1.0)),  # from the end of the step before
    ]


def test_a_turn_that_wakes_the_engine_comes_when_the_step_begins() -> None:
    found = clock(EngineTimes("a", 0, 12.9, 14.99))
    assert found.arrival_s["a", 0] == pytest.approx(3.0)
    assert found.end_s["a", 0] == pytest.approx(5.0)


def test_turns_taken_between_two_steps_come_at_the_boundary_in_their_order() -> None:
    times = [EngineTimes(name, 0, at_s, 14.99) for name, at_s in (("c", 14.07), ("a", 14.02), ("b", 14.05))]
    found = clock(EngineTimes("z", 0, 12.9, 14.99), *times)
    at = [found.arrival_s[name, 0] for name in "abc"]
    assert at == sorted(at)
    assert len(set(at)) == 3
    assert at == pytest.approx([4.0] * 3, abs=1e-7)
    assert max(at) <= found.steps[2].end_s - found.steps[2].seconds


def test_the_plug_ins_arrivals_make_the_gaps_its_policy_learnt_from() -> None:
    """The plug-in's clock is 7.5 s behind; it dates the second turn 0.3 s before it was queued."""

    def said(event: str, turn: int, at_s: float) -> DecisionRecord:
        return DecisionRecord(at_s - 7.5, 0, "a", turn, event, {})

    decisions = (said("arrive", 0, 10.15), said("pin", 0, 10.99), said("arrive", 1, 13.72), said("release", 1, 14.99))
    times = (EngineTimes("a", 0, 10.1, 10.99), EngineTimes("b", 0, 12.9, 13.99), EngineTimes("a", 1, 14.02, 14.99))
    found = clock(*times, decisions=decisions)
    assert found.arrival_s["a", 1] - found.end_s["a", 0] == pytest.approx(13.72 - 10.99)
    # The idle engine begins its first step with the turn that woke it.
    assert found.arrival_s["a", 0] == pytest.approx(0.15)
    assert found.steps[0].seconds == pytest.approx(1.0 - 0.15)


def test_an_arrival_never_leaves_the_step_that_found_it() -> None:
    early = DecisionRecord(0.0, 0, "a", 1, "arrive", {})
    ended = DecisionRecord(9.0, 0, "a", 0, "pin", {})
    times = (EngineTimes("a", 0, 10.1, 10.99), EngineTimes("b", 0, 12.9, 13.99), EngineTimes("a", 1, 14.02, 14.99))
    found = clock(*times, decisions=(early, ended))
    # The step before began at 3.0 and did not see it.
    assert 3.0 < found.arrival_s["a", 1] <= 4.0


# Planned ahead: an idle engine plans two steps at once, then one at the end of each; the last turns end at 14 and 15 s.
AHEAD = [
    step(10.0, 11.0),
    step(10.01, 12.0),
    step(11.01, 13.0),
    step(12.01, 14.0),
    step(13.01, 14.02, batch=NOTHING),
    step(14.015, 15.0),
    step(14.025, 15.01, 0, NOTHING),
]


def ahead(**queued_s: float) -> EngineClock:
    times = [EngineTimes(name, 0, at_s, 14.99) for name, at_s in queued_s.items()]
    return EngineClock(EngineLog(AHEAD, times, 8.0))


def test_a_turn_seen_by_a_planning_ahead_comes_when_the_running_step_begins() -> None:
    found = ahead(a=9.9, b=11.005, c=12.005)
    assert [(one.end_s, one.seconds) for one in found.steps] == [
        (pytest.approx(end_s), pytest.approx(1.0)) for end_s in (3.0, 4.0, 5.0, 6.0, 7.0)
    ]
    assert [found.arrival_s[name, 0] for name in "abc"] == pytest.approx([2.0, 3.0, 4.0])
    assert found.between_s == []


def test_a_turn_first_seen_by_an_empty_planning_comes_before_the_step_that_admits_it() -> None:
    assert ahead(a=9.9, b=13.005).arrival_s["b", 0] == pytest.approx(5.0)
    assert ahead(a=9.9, b=14.01).arrival_s["b", 0] == pytest.approx(6.0)


def test_a_turn_between_two_plannings_of_one_moment_comes_just_after_it() -> None:
    found = ahead(a=9.9, b=10.003, c=10.006)
    assert found.between_s == [found.arrival_s["b", 0], found.arrival_s["c", 0]]
    assert found.arrival_s["a", 0] == pytest.approx(2.0)
    assert 2.0 < found.arrival_s["b", 0] < found.arrival_s["c", 0] < 2.0 + 1e-7
    assert found.steps[0].seconds == pytest.approx(1.0)


def test_a_log_without_steps_of_the_replay_is_refused() -> None:
    with pytest.raises(ValueError, match="no step"):
        EngineClock(EngineLog(STEPS[:1], [], 10.0))
