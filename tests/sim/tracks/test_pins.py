"""Pins from a decision log: hand-written logs, and the counts of whole runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.results.decisions import DecisionRecord, iter_decisions
from continuum_sim.tracks.pins import PinSpan, pin_spans


def log(*lines: tuple[float, str, str, int] | tuple[float, str, str, int, dict[str, Any]]) -> list[DecisionRecord]:
    return [
        DecisionRecord(time_s, 0, program, turn, event, *(rest or ({},)))
        for time_s, event, program, turn, *rest in lines
    ]


def pin(time_s: float, program: str, turn: int, ttl_s: float | None) -> tuple[float, str, str, int, dict[str, Any]]:
    return (time_s, "pin", program, turn, {"ttl_s": ttl_s, "last": False})


def test_every_way_a_pin_ends() -> None:
    decisions = log(
        pin(1.0, "a", 0, 2.0),
        pin(1.5, "b", 0, 2.0),
        pin(2.0, "c", 3, None),
        (2.5, "arrive", "a", 1),
        (2.75, "admit", "a", 1),
        (4.0, "expire", "b", 0),
        (5.0, "break", "c", 3, {"for": "a"}),
        pin(6.0, "a", 1, 9.0),
        pin(6.5, "e", 0, 9.0),
        (7.0, "move", "e", 0, {"to": 1}),
        pin(7.0, "f", 0, None),
        (7.5, "offload", "f", 0),
        (7.75, "offload", "g", 0, {"last": False}),
        (8.0, "admit", "d", 0),
    )
    assert list(pin_spans(decisions)) == [
        PinSpan("a", 0, 1.0, 2.75, 2.0, "hit"),
        PinSpan("b", 0, 1.5, 4.0, 2.0, "expired"),
        PinSpan("c", 3, 2.0, 5.0, math.inf, "broken"),
        PinSpan("e", 0, 6.5, 7.0, 9.0, "moved"),
        PinSpan("f", 0, 7.0, 7.5, math.inf, "offloaded"),
        PinSpan("a", 1, 6.0, 8.0, 9.0, "held"),
    ]


@pytest.mark.parametrize(("event", "turn"), [("expire", 0), ("break", 0), ("pin", 1), ("release", 1), ("evict", 1)])
def test_a_pin_that_outlasts_admission_is_hit_and_lasts_on(event: str, turn: int) -> None:
    decisions = log(pin(1.0, "a", 0, 2.0), (2.0, "admit", "a", 1), (2.5, event, "a", turn, {"ttl_s": 1.0}))
    (span, *_) = pin_spans(decisions, outlasts_admission=True)
    assert span == PinSpan("a", 0, 1.0, 2.5, 2.0, "hit")
    (span, *_) = pin_spans(decisions)
    assert span == PinSpan("a", 0, 1.0, 2.0, 2.0, "hit")


def test_admission_again_after_a_preemption_ends_nothing_twice() -> None:
    decisions = log(pin(1.0, "a", 0, 9.0), (2.0, "admit", "a", 1), (3.0, "preempt", "a", 1), (4.0, "admit", "a", 1))
    assert list(pin_spans(decisions)) == [PinSpan("a", 0, 1.0, 2.0, 9.0, "hit")]
    (span,) = pin_spans(decisions, outlasts_admission=True)
    assert (span.end, span.end_s) == ("hit", 4.0)


@pytest.mark.parametrize("policy", ["ttl", "ttl-static:ttl=0.2", "continuum-code", "pin-forever"])
def test_counts_are_those_of_the_summary(tmp_path: Path, policy: str) -> None:
    cs.run(
        policy=policy,
        limit=12,
        max_turns=8,
        arrivals="poisson:rate=2",
        kv_blocks=1500,
        out=tmp_path / "r",
        decisions=True,
    )
    summary = cs.load_run(tmp_path / "r").summary
    outlasts = cs.parse_policy(policy).retention.outlasts_admission
    spans = list(pin_spans(iter_decisions(tmp_path / "r" / "decisions.jsonl"), outlasts_admission=outlasts))
    ends = [span.end for span in spans]
    assert len(spans) == summary.pins.made > 0
    assert (ends.count("hit"), ends.count("expired"), ends.count("broken")) == (
        summary.pins.hit,
        summary.pins.expired,
        summary.pins.broken,
    )
    assert all(span.end_s >= span.start_s for span in spans)
