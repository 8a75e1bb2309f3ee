"""What a policy may look at: the past of programs, turns and the engine, never their future.

The host (the simulator, or the scheduler plug-in of a real engine) keeps these records up to date; a policy
only reads them. Nothing here holds the length of the current tool call, the number of turns to come or the
length of an output that is still being generated. The one exception, `Foresight`, is filled in for policies
marked as oracles, and only by the simulator.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from continuum_sim.policies.history import History
from continuum_sim.policies.instants import EDGE

CYCLES = 5
"""Turns that `ProgramView.cycles` remembers: the window of MORI (arXiv 2606.00866)."""


def _no_cycles() -> deque[tuple[float, float]]:
    return deque(maxlen=CYCLES)


@dataclass(frozen=True, slots=True)
class Foresight:
    """What only an oracle knows; filled in when a turn arrives and again when it has ended."""

    gap_s: float
    """Seconds from the end of this turn to the arrival of the next one, without waits that depend on the policy: for a
    tool worker to become free, or for sub-agents to end. Where there are no such waits it is the whole gap."""
    remaining_turns: int
    """Turns still to come, including the one under way."""
    remaining_tokens: int
    """Tokens these turns add to the context: new prompt tokens and outputs."""
    remaining_output_tokens: int = 0
    """Output tokens among these."""


class Pin(NamedTuple):
    """KV blocks of a paused program, kept referenced so that nothing evicts them."""

    expires_s: float
    """The first scheduler step after this time ends the pin; infinite for a pin without expiry."""
    blocks: int
    """Blocks held when the pin was made."""
    made_s: float
    """When the pin was made."""
    hit: bool = False
    """Whether the program's next turn was admitted on this pin; only pins that outlast admission show it."""


@dataclass(slots=True, eq=False)
class ProgramView:
    """One agent job as the engine has seen it so far."""

    program_id: str
    arrival_s: float
    """When its first turn reached the engine."""
    seq: int
    """Position in the order in which programs were first seen; breaks ties of `arrival_s`."""
    turns_done: int = 0
    context_tokens: int = 0
    """Prompt plus output of the latest finished turn."""
    attained_tokens: int = 0
    """Service received in finished turns: tokens computed for this program, prefill and decode."""
    service_s: float = 0.0
    """Seconds its turns have spent in the batch, as of the latest end or preemption of a turn."""
    last_service_s: float = 0.0
    """Seconds the latest finished turn spent in the batch."""
    waited_s: float = 0.0
    """Seconds its turns have spent in the queue, as of the latest admission of a turn."""
    cycles: deque[tuple[float, float]] = field(default_factory=_no_cycles)
    """(seconds in the batch, seconds in the tool) of its latest turns whose tools have returned, oldest first."""
    last_tool: str | None = None
    turn_end_s: float | None = None
    """End of the last turn while the program is in a tool call, otherwise None."""
    aborted: bool = False
    """Whether the client aborted the latest turn: the pause then says nothing about a tool."""
    turn: TurnView | None = None
    """The turn that waits or runs; None in a tool call."""
    parent: str | None = None
    """Program that started this one as a sub-agent and waits for it, if the host was told of one. Gates let sub-agents
    in."""
    paused: bool = False
    """Whether a gate holds it back until further notice; only gates write this."""
    pin: Pin | None = None
    due_s: float = math.inf
    """When its tool is expected to return, as predicted at the call; only retention rules write this."""
    foresight: Foresight | None = None
    """None except under an oracle."""


@dataclass(slots=True, eq=False)
class TurnView:
    """One request of a program, waiting or running."""

    program: ProgramView
    index: int
    """Number of turns the program had finished when this one arrived."""
    arrival_s: float
    prompt_tokens: int
    arrived_pinned: bool = False
    """Whether the program's context was pinned when this turn arrived."""
    cached_tokens: int = 0
    """Leading prompt tokens found cached when it arrived; looked up only for an order that asks (`sees_cache`)."""
    preempted: bool = False
    """Whether it was running, lost its blocks and waits again."""
    admitted_s: float | None = None
    """When it was first scheduled; None before that."""
    since_s: float = field(init=False)
    """When it last began to wait or to run."""
    service_s: float = 0.0
    """Seconds it spent in the batch before it was last preempted."""
    computed_tokens: int = 0
    """Tokens computed for it, as of its last preemption or the latest call of `Order.victim`."""
    held: bool = False
    """Whether a gate ever held it back."""
    priority: int = 0
    """Its request's priority: lower goes first under an order that asks."""
    seq: int = 0
    """Number of turns that arrived at this engine before it."""

    def __post_init__(self) -> None:
        self.since_s = self.arrival_s

    @property
    def running(self) -> bool:
        """Whether it is in the batch."""
        return self.admitted_s is not None and not self.preempted


class TierView(Protocol):
    """Host memory below the KV cache, and the link to it, which carries one transfer at a time."""

    @property
    def total_blocks(self) -> int:
        """KV blocks for which host memory has room in all."""

    @property
    def free_blocks(self) -> int:
        """Blocks of host memory that hold nothing."""

    @property
    def spare_blocks(self) -> int:
        """Free blocks, and those with copies of contexts that the policy did not offload: such copies make way."""

    @property
    def link_free_s(self) -> float:
        """When the link will have finished every transfer given to it so far."""

    def transfer_s(self, tokens: int) -> float:
        """Return the seconds that a transfer of this many tokens takes, without waiting for earlier ones."""


class EngineView(Protocol):
    """The engine as it is now. `free_blocks` follows vLLM: cached blocks that nothing references are free."""

    @property
    def block_size(self) -> int:
        """Tokens a block holds."""

    @property
    def total_blocks(self) -> int:
        """Usable blocks, so without vLLM's null block."""

    @property
    def free_blocks(self) -> int:
        """Blocks that nothing references, whether they hold reusable KV or not."""

    @property
    def pinned_blocks(self) -> int:
        """Blocks held by pins."""

    @property
    def num_running(self) -> int:
        """Turns in the running batch."""

    @property
    def num_waiting(self) -> int:
        """Turns in the waiting queue."""

    @property
    def shortest_waiting_tokens(self) -> int:
        """Prompt tokens (and those sampled before a preemption) of the shortest waiting turn; 0 if none waits."""

    @property
    def tier(self) -> TierView | None:
        """Host memory below the KV cache, or None."""

    def rebuild_s(self, context_tokens: int) -> float:
        """Return the seconds it takes to make a lost context of this many tokens usable again.

        That is the time to prefill it, or to reload it if that is faster.
        """


@dataclass(frozen=True, slots=True)
class RoutedTurn:
    """A turn that arrives at a cluster, as a router in front of the engines sees it."""

    program_id: str
    index: int
    """Number of turns the program had finished when this one arrived."""
    arrival_s: float
    prompt_tokens: int
    kept_tokens: int
    """Leading prompt tokens that repeat the program's latest prompt and output; 0 on its first turn."""
    prefix_id: str | None
    """Identifier of the prefix that this prompt shares with those of other programs, or None."""
    prefix_tokens: int
    """Leading tokens of this prompt that belong to that prefix."""
    home: int | None
    """Replica that the program's latest turn went to; None on its first turn."""


class ReplicaView(Protocol):
    """One replica of a cluster as it is now."""

    @property
    def number(self) -> int:
        """Number of the replica, counted from 0."""

    @property
    def engine(self) -> EngineView:
        """Its blocks and queues, as current as the engine's own view of them."""

    @property
    def open_programs(self) -> int:
        """Programs that have not ended and whose latest turn went here."""

    def cached_tokens(self, turn: RoutedTurn) -> int:
        """Return how many leading tokens of the prompt this replica holds in full blocks, going by its cache events."""


class EngineCounts(NamedTuple):
    """What an engine told the coordinator about itself, in vLLM's order."""

    waiting: int
    running: int
    kv_cache_usage: float
    """Share of KV blocks that turns or pins hold."""


_SHIFT = (0.5 - EDGE) * 1e-6


def instant(value: float) -> float:
    """Round a time in seconds, or a value computed from times, to about 1e-6 for use in a sort key (see `instants`).

    Sums of step times differ in their last bits, which must not decide the order.
    """
    return round(value + _SHIFT, 6)


def used_share(engine: EngineView) -> float:
    """Return U, the share of KV blocks that turns or pins hold; unreferenced cached blocks are free, as in vLLM."""
    return (engine.total_blocks - engine.free_blocks) / engine.total_blocks


class Moment(NamedTuple):
    """Everything a decision may depend on besides the program or turn it is about."""

    now_s: float
    engine: EngineView
    history: History
