"""What a simulation reports while it runs: one record per turn, per program, and per stretch of steps."""

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
    """Tokens computed for it in prefill and decode, including repeats after a preemption."""
    recomputed_tokens: int
    """The prefill tokens among them that had been computed before and were lost."""
    preemptions: int
    tool: str | None
    tool_s: float
    """Seconds of the gap after it, including retries; waits for tool workers and sub-agents come on top."""
    replica: int = 0
    """Replica it ran on, in a cluster."""
    reloaded_tokens: int = 0
    """Tokens that came back from a lower memory tier, including reloads after a preemption."""
    reload_s: float = 0.0
    """The part of the time before first scheduling in which it waited for reloads."""
    preempted_s: float = 0.0
    """The part of the time after first scheduling from each preemption to the next token: waiting and recomputing."""
    requests: int = 1
    """How often its client sent it; what stands above is about the last time, but for `arrival_s`."""
    retry_s: float = 0.0
    """Seconds from its first request to the last."""
    aborted: bool = False
    """Whether its client hung up after `output_tokens`, before the last token."""


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
    """Σ over turns of first scheduling to first token, without the part in `preempted_s`."""
    decode_s: float
    """Σ over turns of first to last token, without the part in `preempted_s`."""
    tool_s: float
    """Σ of the gaps between turns, without the waits below."""
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
    """Its JCT with the engine to itself; None for sub-agents, if it was not asked for, and if a turn was aborted."""
    retry_s: float = 0.0
    """Σ over turns of the time from the first request to the last, or to when the program was given up."""
    given_up: bool = False
    """Whether its client gave it up at `finish_s`, before its end."""


class TimelineRecord(NamedTuple):
    """An engine over a stretch in which its batch did not change; between stretches it was empty."""

    start_s: float
    end_s: float
    steps: int
    """Number of steps; 0 while turns wait and none is admitted."""
    running: int
    """Turns in the batch."""
    waiting: float
    """Turns in the queue, on average over the stretch."""
    prefill_tokens: int
    """New prompt tokens in each of these steps."""
    decode_requests: int
    free_blocks: int
    """Unreferenced blocks at the end, including cached blocks."""
    cached_blocks: int
    """The free blocks with reusable content."""
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
