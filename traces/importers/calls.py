"""Combine the LLM calls of a log into programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from continuum_sim.traces.check import check_program
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import STOP, Program, SharedPrefix, ToolCall, Turn

_MAX_NAME_CHARS = 80
_NOT_A_NAME = re.compile(r"[^\w.:/@+-]+")


class Call(msgspec.Struct, frozen=True, gc=False):
    """One LLM request in a log.

    Attributes
    ----------
    input_tokens, output_tokens
        Whole prompt, including its cached part; all generated tokens, including hidden reasoning.
    kept_tokens
        Tokens that the prompt keeps of the call before, if the format records them; otherwise derived.
    cached_tokens
        Tokens of this prompt that a provider's cache supplied, if known: the least it can have kept.
    compacted
        True if the log says that the context was compacted just before this call.
    output_dropped
        True if its output is known not to come back whole, because it holds hidden reasoning that is not sent back.
    tool, tool_s
        What filled the time until the next call, and how long it took: `None` if unknown, which counts as 0 s.
    tools
        The single tool calls, if several were made at once and each has its time.
    finish
        What ended it: the model (``stop``), or the request's limit (``max_tokens``).
    mean_acceptance_length
        As in `Turn`.
    """

    input_tokens: int
    output_tokens: int
    kept_tokens: int | None = None
    cached_tokens: int = 0
    compacted: bool = False
    output_dropped: bool = False
    tool: str = ""
    tool_s: float | None = 0.0
    tools: tuple[ToolCall, ...] = ()
    finish: str = STOP
    mean_acceptance_length: float | None = None


def make_program(
    program_id: str,
    calls: Sequence[Call],
    state: ImportState,
    *,
    arrival_s: float | None = None,
    shared_prefix: SharedPrefix | None = None,
) -> Program:
    """Combine calls into a program that keeps every rule of the format.

    Raises
    ------
    TraceError
        If there is no call, or a number is impossible.
    """
    if not calls:
        raise TraceError("no LLM call with token counts in it, expected at least one")
    turns: list[Turn] = []
    left_tokens = 0
    before: Call | None = None
    last = len(calls) - 1
    for index, call in enumerate(calls):
        prompt, output = call.input_tokens, call.output_tokens
        if output == 0:
            state.note("turns without output, taken as 1 token")
            output = 1
        kept = 0
        if before is not None:
            kept = _kept(before, left_tokens, call) if call.kept_tokens is None else call.kept_tokens
        if index == last:
            accepted = call.mean_acceptance_length
            turns.append(Turn(prompt, kept, output, finish=call.finish, mean_acceptance_length=accepted))
        else:
            tool_s = call.tool_s or 0.0
            state.count_gap(known=call.tool_s is not None)
            if tool_s < 0:
                state.note("gaps below 0 (requests that overlap, or clocks that differ), taken as 0 s")
                tool_s = 0.0
            tool, accepted = call.tool or "unknown", call.mean_acceptance_length
            turns.append(Turn(prompt, kept, output, tool, tool_s, call.tools, call.finish, accepted))
        before, left_tokens = call, prompt + output
    return of_turns(program_id, turns, arrival_s=arrival_s, shared_prefix=shared_prefix)


def of_turns(
    program_id: str, turns: Sequence[Turn], *, arrival_s: float | None, shared_prefix: SharedPrefix | None
) -> Program:
    """Make a program of turns, whose first prompt may be shorter than the prefix that it is said to share.

    Raises
    ------
    TraceError
        If a number is impossible.
    """
    if shared_prefix is not None:
        shared_prefix = SharedPrefix(shared_prefix.id, min(shared_prefix.tokens, turns[0].input_tokens))
    program = Program(program_id, tuple(turns), arrival_s, shared_prefix)
    check_program(program)
    return program


def _kept(before: Call, left_tokens: int, call: Call) -> int:
    """Derive from lengths alone what a prompt keeps of ``left_tokens``, the previous call's prompt and output.

    A prompt at least as long as everything before it appended to it. One at least as long as the previous
    prompt dropped (part of) the output, as hidden reasoning that was not sent back: the prefix breaks where that
    output began, because reasoning comes first. A longer one breaks there too if the log says so
    (``output_dropped``). A shorter one was compacted: only what a cache is known to have supplied is surely kept.
    """
    if not call.compacted:
        if call.input_tokens >= left_tokens and not before.output_dropped:
            return left_tokens
        if call.input_tokens >= before.input_tokens:
            return before.input_tokens
    return min(call.cached_tokens, call.input_tokens, left_tokens)


def joined(names: Iterable[str]) -> str:
    """Join the names of the tools that filled one gap by ``+``, in order, each once."""
    once = dict.fromkeys(name for name in names if name)
    return tool_name("+".join(once))


@lru_cache(4096)
def tool_name(text: str) -> str:
    """Return a short name without spaces or control characters."""
    name = _NOT_A_NAME.sub("_", text.strip())
    return name if len(name) <= _MAX_NAME_CHARS else f"{name[: _MAX_NAME_CHARS - 1]}…"


def command_name(command: str) -> str:
    """Return the first word of a shell command, skipping directory changes and variable assignments."""
    words = command.split()
    while words:
        word = words.pop(0)
        if word == "cd" and "&&" in words:
            words = words[words.index("&&") + 1 :]
        elif not re.match(r"\w+=", word):
            return tool_name(word.rsplit("/", 1)[-1].strip("();&|<>'\"`")) or "shell"
    return "cd" if command.split()[:1] == ["cd"] else "shell"
