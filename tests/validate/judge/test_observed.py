"""The fate of every turn's blocks."""

from __future__ import annotations

from typing import Any

from continuum_sim.results.decisions import DecisionRecord
from continuum_sim.validate.judge.observed import turn_fates


def decision(event: str, program: str, turn: int, **detail: Any) -> DecisionRecord:
    return DecisionRecord(0.0, 0, program, turn, event, detail)


def test_a_pin_ends_as_it_is_said_or_is_hit() -> None:
    log = [
        decision("arrive", "a", 0, prompt_tokens=5),
        decision("pin", "a", 0, last=False, ttl_s=2.0),
        decision("pin", "b", 0, last=False, ttl_s=2.0),
        decision("expire", "b", 0),
        decision("admit", "a", 1, cached_tokens=4),
        decision("pin", "a", 1, last=False, ttl_s=2.0),
        decision("break", "a", 1, **{"for": "b"}),
        decision("release", "b", 1, last=False),
        decision("evict", "b", 2, last=False),
        decision("release", "a", 2, last=True),
    ]
    assert turn_fates(log) == {
        ("a", 0): "hit",
        ("b", 0): "expire",
        ("a", 1): "break",
        ("b", 1): "release",
        ("b", 2): "evict",
    }
