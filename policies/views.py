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
    """What only an oracle knows, told when a turn arrives and again when it has ended."""

    gap_s: float
    """Seconds from the end of this turn to the arrival of the next one, but for waits that hang on what the policy
    does: for a tool worker to become free, for sub-agents to end. Without those it is the whole gap."""
    remaining_turns: int
    """Turns still to come, the one under way included."""
    remaining_tokens: int
    """Tokens these turns add to the context: new prompt tokens and outputs."""
    remaining_output_tokens: int = 0
    """Of those, outputs."""


class Pin(NamedTuple):
    """KV blocks of a paused program, kept referenced so that nothing evicts them."""

    expires_s: float
    """The first scheduler step after this time ends the pin; infinite for a pin without expiry."""
    blocks: int
    """Blocks held when the pin was made."""
    made_s: float
    """When the pin was made."""
    hit: bool = False
    """Whether the program's next turn was admitted on it, for pins that last on from there."""


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
    """Service received so far: tokens computed for this program, prefill and decode."""
    service_s: float = 0.0
    """Seconds its turns have spent in the batch, up to the latest end or preemption of one."""
    last_service_s: float = 0.0
    """Seconds the latest finished turn spent in the batch."""
    waited_s: float = 0.0
    """Seconds its turns have spent in the queue, up to the latest admission of one."""
    cycles: deque[tuple[float, float]] = field(default_factory=_no_cycles)
    """(seconds in the batch, seconds in the tool) of its latest turns whose tools have returned, oldest first."""
    last_tool: str | None = None
    turn_end_s: float | None = None
    """End of the last turn while the program is in a tool call, otherwise None."""
    turn: TurnView | None = None
    """The turn that waits or runs; None in a tool call."""
    parent: str | None = None
    """Program that started it as a sub-agent, if one did and the host was told: what that one waits for is let in."""
    paused: bool = False
    """Whether a gate holds it back until further notice; written by gates alone."""
    pin: Pin | None = None
    due_s: float = math.inf
    """When its tool is expected to have returned, as foretold at the call; written by retention rules alone."""
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
    """Whether it ran before, lost its blocks and waits again."""
    admitted_s: float | None = None
    """When it was first scheduled."""
    since_s: float = field(init=False)
    """When it last began to wait or to run."""
    service_s: float = 0.0
    """Seconds it spent in the batch before it was last preempted."""
    computed_tokens: int = 0
    """Tokens computed for it, as of its last preemption or of the latest choice of a victim."""
    held: bool = False
    """Whether a gate ever held it back."""

    def __post_init__(self) -> None:
        self.since_s = self.arrival_s

    @property
    def running(self) -> bool:
        """Whether it is in the batch."""
        return self.admitted_s is not None and not self.preempted


class TierView(Protocol):
    """Host memory below the KV cache, and the link to it, which moves one thing after another."""

    @property
    def total_blocks(self) -> int:
        """KV blocks that host memory holds."""

    @property
    def free_blocks(self) -> int:
        """Those of them that hold nothing."""

    @property
    def spare_blocks(self) -> int:
        """Those that hold nothing, or a copy of a context that the policy did not offload: such copies make way."""

    @property
    def link_free_s(self) -> float:
        """When the link has done all it was given."""

    def transfer_s(self, tokens: int) -> float:
        """Seconds that so many tokens take over the link once it is their turn."""


class EngineView(Protocol):
    """The engine as it is now. `free` follows vLLM: cached blocks that nothing references are free."""

    @property
    def block_size(self) -> int:
        """Tokens a block holds."""

    @property
    def total_blocks(self) -> int:
        """Usable blocks (vLLM's null block is not one of them)."""

    @property
    def free_blocks(self) -> int:
        """Blocks nothing references, whether they hold reusable KV or not."""

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
        """Host memory below the KV cache, if there is any."""

    def rebuild_s(self, context_tokens: int) -> float:
        """Seconds to make a lost context of this many tokens usable again (prefill, or reload if faster)."""


@dataclass(frozen=True, slots=True)
class RoutedTurn:
    """A turn at the door of a cluster, as a router in front of the engines sees it."""

    program_id: str
    index: int
    """Number of turns the program had finished when this one arrived."""
    arrival_s: float
    prompt_tokens: int
    kept_tokens: int
    """Leading prompt tokens that repeat the program's latest prompt and output; 0 on its first turn."""
    prefix_id: str | None
    """A prefix that other programs' prompts begin with as well, or None."""
    prefix_tokens: int
    """Leading tokens of this prompt that are of that prefix."""
    home: int | None
    """Replica that its program's latest turn went to; None on its first turn."""


class ReplicaView(Protocol):
    """One replica of a cluster as it is now."""

    @property
    def number(self) -> int:
        """Which one it is, from 0."""

    @property
    def engine(self) -> EngineView:
        """Its blocks and queues, as up to date as the engine itself sees them."""

    @property
    def open_programs(self) -> int:
        """Programs that have not ended and whose latest turn went here."""

    def cached_tokens(self, turn: RoutedTurn) -> int:
        """Leading tokens of this prompt whose KV lies here in full blocks, as an engine's cache events tell."""


_SHIFT = (0.5 - EDGE) * 1e-6


def instant(value: float) -> float:
    """A time in seconds, or what follows from times, for sort keys: rounded to about 1e-6 (see `instants`).

    Sums of step times differ in their last bits, which must not decide who comes first.
    """
    return round(value + _SHIFT, 6)


def used_share(engine: EngineView) -> float:
    """U: share of the KV blocks that turns or pins hold; cached ones that nothing references are free, as in vLLM."""
    return (engine.total_blocks - engine.free_blocks) / engine.total_blocks


class Moment(NamedTuple):
    """Everything a decision may depend on besides the program or turn it is about."""

    now_s: float
    engine: EngineView
    history: History
