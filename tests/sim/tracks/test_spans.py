"""Spans that runs of one plain engine lack: reloads from a memory tier, waits for tool workers."""

from __future__ import annotations

from typing import Any

from continuum_sim.tracks.spans import Span, Waits, turn_spans

TURN: dict[str, Any] = {
    "program": "a",
    "turn": 0,
    "arrival_s": 1.0,
    "scheduled_s": 3.0,
    "first_token_s": 3.5,
    "finish_s": 3.5,
    "prompt_tokens": 90,
    "output_tokens": 1,
    "cached_tokens": 16,
    "recomputed_tokens": 0,
    "preemptions": 0,
    "tool": None,
    "tool_s": 2.0,
}


def kinds(turn: dict[str, Any]) -> list[tuple[str, float, float]]:
    return [(span.kind, span.start_s, span.end_s) for span in turn_spans(turn)]


def test_empty_spans_are_left_out() -> None:
    assert kinds(TURN) == [("queued", 1.0, 3.0), ("prefill", 3.0, 3.5), ("tool", 3.5, 5.5)]
    assert kinds({**TURN, "scheduled_s": 1.0, "first_token_s": 1.0, "tool_s": 0.0}) == [("decode", 1.0, 3.5)]


def test_a_reload_ends_with_the_first_scheduling() -> None:
    reloading = {**TURN, "reload_s": 0.5, "reloaded_tokens": 64}
    assert kinds(reloading)[:2] == [("queued", 1.0, 2.5), ("reload", 2.5, 3.0)]
    assert next(span for span in turn_spans(reloading) if span.kind == "reload").details["reloaded_tokens"] == 64
    assert kinds({**TURN, "reload_s": 0.0, "reloaded_tokens": 0}) == kinds(TURN)


def test_what_lies_between_a_tool_and_the_next_turn_is_a_wait() -> None:
    waits = Waits()
    assert list(waits.before(TURN)) == []
    late = {**TURN, "turn": 1, "arrival_s": 7.0, "finish_s": 9.0, "tool_s": 1.0}
    assert list(waits.before(late)) == [Span("a", "waiting", 5.5, 7.0, {"turn": 0})]
    assert list(waits.before({**TURN, "turn": 2, "arrival_s": 10.0 + 5e-10})) == [], "the same instant"
