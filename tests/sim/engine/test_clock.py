"""Instants and boundaries of simulated time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import simpy

from continuum_sim.engine.clock import Clock, step_rank


def note(log: list[tuple[str, float]], name: str, clock: Clock) -> Callable[[simpy.Event], None]:
    return lambda event: log.append((name, round(clock.now, 6)))


def add(event: simpy.Event, callback: Callable[[simpy.Event], None]) -> None:
    assert event.callbacks is not None
    event.callbacks.append(callback)


def test_a_boundary_comes_after_all_that_happens_at_its_instant() -> None:
    clock, log = Clock(), list[tuple[str, float]]()
    add(clock.boundary(1.0, step_rank(1)), note(log, "later engine", clock))
    add(clock.boundary(1.0), note(log, "engine", clock))
    add(clock.instant(1.0), note(log, "arrival", clock))
    # The same instant by another sum.
    add(clock.instant(0.1 + 0.2 + 0.7), note(log, "late arrival", clock))
    clock.run()
    assert [name for name, _ in log] == ["arrival", "late arrival", "engine", "later engine"]


def test_an_event_brought_forward_happens_once_and_sooner() -> None:
    clock, log = Clock(), list[tuple[str, float]]()
    end = clock.boundary(5.0)
    add(end, note(log, "end", clock))
    arrival = clock.instant(1.0)
    add(arrival, lambda event: clock.bring_forward(end, 2.0))
    add(clock.instant(3.0), note(log, "after", clock))
    clock.run()
    assert log == [("end", 2.0), ("after", 3.0)]


def test_an_event_set_off_by_bringing_it_forward_waits_for_the_boundary() -> None:
    clock, log = Clock(), list[tuple[str, float]]()
    wake = clock.event()
    add(wake, note(log, "wake", clock))
    add(clock.instant(1.0), lambda event: clock.bring_forward(wake, 1.0))
    add(clock.instant(1.0), note(log, "second arrival", clock))
    clock.run()
    assert log == [("second arrival", 1.0), ("wake", 1.0)]


def test_a_failure_in_a_process_comes_out_as_itself() -> None:
    clock = Clock()

    def fail() -> simpy.events.ProcessGenerator:
        yield clock.instant(1.0)
        raise KeyError("lost")

    clock.process(fail())
    with pytest.raises(KeyError, match="lost"):
        clock.run()


def test_a_clock_can_be_stopped_at_a_time_as_simpy_s() -> None:
    clock, log = Clock(), list[tuple[str, float]]()
    add(clock.instant(1.0), note(log, "one", clock))
    add(clock.instant(3.0), note(log, "three", clock))
    clock.run(until=2.0)
    assert log == [("one", 1.0)]
    assert clock.now == 2.0
