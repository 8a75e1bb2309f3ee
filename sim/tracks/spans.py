"""The states of a program between its arrival and its end, turn by turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from continuum_sim.policies.instants import SAME_INSTANT_S

Kind = Literal["queued", "reload", "prefill", "decode", "tool", "waiting", "pinned"]
"""`reload`: waits for blocks from a memory tier; `waiting`: for a tool worker or for sub-agents."""
Details = Mapping[str, int | float | str]
"""Details shown with a span: name -> value, with units in the names."""


class Span(NamedTuple):
    """The time from `start_s` to `end_s`, during which a program was in one state."""

    program: str
    kind: Kind
    start_s: float
    end_s: float
    details: Details


def turn_spans(turn: Mapping[str, Any]) -> Iterator[Span]:
    """Yield the non-empty spans of a row of the turns table and of the tool call after it.

    The spans of a program do not overlap. Those of one kind add up to the program's `queue_s`, `reload_s`, `prefill_s`,
    `decode_s` or `tool_s`; the cost of a preemption is part of the span in which it happened. A reload is drawn at its
    end, just before the turn is scheduled.
    """
    program, index = turn["program"], turn["turn"]
    arrival_s, scheduled_s, first_token_s, finish_s = (
        turn["arrival_s"],
        turn["scheduled_s"],
        turn["first_token_s"],
        turn["finish_s"],
    )
    where = {"replica": turn["replica"]} if "replica" in turn else {}
    loading_s = scheduled_s - turn.get("reload_s", 0.0)
    if loading_s > arrival_s:
        yield Span(program, "queued", arrival_s, loading_s, {"turn": index, **where})
    if scheduled_s > loading_s:
        reloaded = {"reloaded_tokens": turn["reloaded_tokens"]}
        yield Span(program, "reload", max(arrival_s, loading_s), scheduled_s, {"turn": index, **where, **reloaded})
    if first_token_s > scheduled_s:
        names = ("prompt_tokens", "cached_tokens", "recomputed_tokens", "preemptions")
        of_prompt = {name: turn[name] for name in names}
        yield Span(program, "prefill", scheduled_s, first_token_s, {"turn": index, **where, **of_prompt})
    if finish_s > first_token_s:
        yield Span(
            program, "decode", first_token_s, finish_s, {"turn": index, **where, "output_tokens": turn["output_tokens"]}
        )
    if turn["tool_s"] > 0:
        yield Span(program, "tool", finish_s, finish_s + turn["tool_s"], {"turn": index, "tool": turn["tool"] or ""})


class Waits:
    """Spans between the end of a program's tool and its next turn, derived as turns pass by in order."""

    def __init__(self) -> None:
        self._back_s: dict[str, float] = {}

    def before(self, turn: Mapping[str, Any]) -> Iterator[Span]:
        """Yield the wait for a tool worker or for sub-agents that ended with this turn's arrival, if there was one."""
        program, arrival_s = turn["program"], turn["arrival_s"]
        back_s = self._back_s.get(program, arrival_s)
        if arrival_s > back_s + SAME_INSTANT_S:
            yield Span(program, "waiting", back_s, arrival_s, {"turn": turn["turn"] - 1})
        self._back_s[program] = turn["finish_s"] + turn["tool_s"]
