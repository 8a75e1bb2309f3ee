"""What a program did between its arrival and its end: queued, prefill, decode, tool, turn by turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["queued", "prefill", "decode", "tool", "pinned"]
Details = Mapping[str, int | float | str]
"""What a reader sees beside a span: name to value, units in the names."""


class Span(NamedTuple):
    """A program was in one state from `start_s` to `end_s`."""

    program: str
    kind: Kind
    start_s: float
    end_s: float
    details: Details


def turn_spans(turn: Mapping[str, Any]) -> Iterator[Span]:
    """Yield the spans of a row of the turns table and of the tool call after it, none of them empty.

    The spans of a program follow each other without overlap; those of one kind add up to the program's `queue_s`,
    `prefill_s`, `decode_s` and `tool_s`.
    """
    program, index = turn["program"], turn["turn"]
    arrival_s, scheduled_s, first_token_s, finish_s = (
        turn["arrival_s"],
        turn["scheduled_s"],
        turn["first_token_s"],
        turn["finish_s"],
    )
    if scheduled_s > arrival_s:
        yield Span(program, "queued", arrival_s, scheduled_s, {"turn": index})
    if first_token_s > scheduled_s:
        names = ("prompt_tokens", "cached_tokens", "recomputed_tokens", "preemptions")
        yield Span(program, "prefill", scheduled_s, first_token_s, {"turn": index, **{n: turn[n] for n in names}})
    if finish_s > first_token_s:
        yield Span(program, "decode", first_token_s, finish_s, {"turn": index, "output_tokens": turn["output_tokens"]})
    if turn["tool_s"] > 0:
        yield Span(program, "tool", finish_s, finish_s + turn["tool_s"], {"turn": index, "tool": turn["tool"] or ""})
