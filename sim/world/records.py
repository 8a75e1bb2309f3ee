"""What a simulation reports while it runs: one record a turn, one a program, one a stretch of time."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class TurnRecord(NamedTuple):
    """One finished turn. Times in seconds since the start of the run."""

    program: str
    turn: int
    arrival_s: float
    scheduled_s: float
    first_token_s: float
    finish_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    """Prefix hit when the turn was first scheduled."""
    computed_tokens: int
    """Tokens computed for it, prefill and decode, repeats after a preemption included."""
    recomputed_tokens: int
    """Prefill tokens among them that had been computed before and were lost."""
    preemptions: int
    tool: str | None
    tool_s: float
    """Seconds of the gap after it, retries included; waits for tool workers and sub-agents come on top."""
    replica: int = 0
    """Where it ran, in a cluster."""
    reloaded_tokens: int = 0
    """Tokens that came back from a lower memory tier, again after a preemption included."""
    reload_s: float = 0.0
    """Of the time before its first scheduling, seconds in which it waited for them."""
    preempted_s: float = 0.0
    """Of the time after it, seconds from each preemption to the turn's next token: waiting and computing again."""


class ProgramRecord(NamedTuple):
    """One finished program."""

    program: str
    turns: int
    arrival_s: float
    finish_s: float
    jct_s: float
    queue_s: float
    """Σ over turns of arrival to first scheduling, without `reload_s`."""
    prefill_s: float
    """Σ over turns of first scheduling to first token, without what of it is in `preempted_s`."""
    decode_s: float
    """Σ over turns of first to last token, likewise."""
    tool_s: float
    """Σ of the gaps between turns, the waits below aside."""
    tool_wait_s: float = 0.0
    """Σ of the waits for tool workers."""
    join_s: float = 0.0
    """Σ of the waits for sub-agents after the program's own tools, if any, had returned."""
    parent: str | None = None
    """The program whose sub-agent this is."""
    reload_s: float = 0.0
    """Σ over turns of the wait for blocks from a lower memory tier."""
    preempted_s: float = 0.0
    """Σ over turns of the time from each preemption to the next token."""
    alone_s: float | None = None
    """Its JCT with the engine for itself; None of sub-agents, and where nobody asked."""


class TimelineRecord(NamedTuple):
    """An engine over a stretch in which its batch did not change. It was empty between stretches."""

    start_s: float
    end_s: float
    steps: int
    """0 while turns wait and none is let in."""
    running: int
    """Turns in the batch."""
    waiting: float
    """Turns in the queue, on average over the stretch."""
    prefill_tokens: int
    """New prompt tokens in each of these steps."""
    decode_requests: int
    free_blocks: int
    """Blocks nothing references at the end, cached ones included."""
    cached_blocks: int
    """Of those, blocks with reusable content."""
    pinned_blocks: int
    replica: int = 0


class Recorder(Protocol):
    """Receives the records of a run in the order of their ends."""

    def turn(self, record: TurnRecord) -> None:
        """A turn finished."""

    def program(self, record: ProgramRecord) -> None:
        """A program finished."""

    def timeline(self, record: TimelineRecord) -> None:
        """Some steps ran."""
