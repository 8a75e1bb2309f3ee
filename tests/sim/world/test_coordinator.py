"""When vLLM's coordinator publishes, and what, worked out by hand; `parity/test_balancer.py` asks its own code."""

from __future__ import annotations

from continuum_sim.policies import EngineCounts
from continuum_sim.world.coordinator import NO_COUNTS, Coordinator

MS = 1_000_000


def running(turns: int) -> EngineCounts:
    return EngineCounts(0, turns, 0.0)


def test_the_first_change_is_published_at_once_and_the_next_100_ms_later() -> None:
    coordinator = Coordinator(2)
    coordinator.tell(0, 200 * MS, running(1))
    coordinator.tell(0, 210 * MS, running(2))
    coordinator.tell(1, 299 * MS, running(5))
    assert coordinator.published(200 * MS) is None
    assert coordinator.published(200 * MS + 1) == (running(1), NO_COUNTS)
    assert coordinator.published(300 * MS) is None
    assert coordinator.published(300 * MS + 1) == (running(2), running(5))


def test_what_is_told_at_one_instant_is_published_together() -> None:
    coordinator = Coordinator(2)
    coordinator.tell(0, 200 * MS, running(1))
    coordinator.tell(1, 200 * MS, running(3))
    assert coordinator.published(201 * MS) == (running(1), running(3))


def test_the_same_is_published_every_5_s() -> None:
    coordinator = Coordinator(1)
    coordinator.tell(0, 200 * MS, running(1))
    assert coordinator.published(5_200 * MS) == (running(1),)
    assert coordinator.published(5_200 * MS) is None
    assert coordinator.published(5_200 * MS + 1) == (running(1),)
    assert coordinator.published(15_200 * MS) == (running(1),), "at 10.2 s"
    coordinator.tell(0, 15_250 * MS, running(2))
    assert coordinator.published(15_300 * MS) == (running(1),), "at 15.2 s; the change waits until 15.3 s"


def test_ranks_in_lockstep_are_published_as_of_a_whole_step() -> None:
    coordinator = Coordinator(2, lockstep=True)
    coordinator.tell(0, 200 * MS, running(1), (0, 4))
    coordinator.tell(1, 201 * MS, running(2), (0, 4))
    assert coordinator.published(250 * MS) is None, "it waits 50 ms for more of the same step"
    coordinator.tell(0, 250 * MS, running(7), (0, 5))
    assert coordinator.published(250 * MS + 1) == (running(1), running(2)), "step 4, as step 5 has begun"
    assert coordinator.published(350 * MS + 1) == (running(7), running(2))
