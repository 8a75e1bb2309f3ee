"""What a policy may look at: the past of programs, turns and the engine, never their future.

The host (the simulator, or the scheduler plug-in of a real engine) keeps these records up to date; a policy
only reads them. Nothing here holds the length of the current tool call, the number of turns to come or the
length of an output that is still being generated. The one exception, `Foresight`, is filled in for policies
marked as oracles, and only by the simulator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from continuum_sim.policies.history import History


@dataclass(frozen=True, slots=True)
class Foresight:
    """What only an oracle knows at the end of a turn."""

    gap_s: float
    """Seconds from the end of this turn to the arrival of the next one."""
    remaining_turns: int
    """Turns still to come."""
    remaining_tokens: int
    """Tokens still to be added to the context: new prompt tokens and outputs of the turns to come."""


@dataclass(frozen=True, slots=True)
class Pin:
    """KV blocks of a paused program, kept referenced so that nothing evicts them."""

    expires_s: float
    """The first scheduler step at or after this time ends the pin; infinite for a pin without expiry."""
    blocks: int
    """Blocks held when the pin was made."""
    made_s: float
    """When the pin was made."""


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
    last_tool: str | None = None
    turn_end_s: float | None = None
    """End of the last turn while the program is in a tool call, otherwise None."""
    pin: Pin | None = None
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
    preempted: bool = False
    """Whether it ran before and lost its blocks."""
    admitted_s: float | None = None
    """When it was first scheduled."""


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
        """Blocks held by pins and by nothing else."""

    @property
    def num_running(self) -> int:
        """Turns in the running batch."""

    @property
    def num_waiting(self) -> int:
        """Turns in the waiting queue."""

    def rebuild_s(self, context_tokens: int) -> float:
        """Seconds to make a lost context of this many tokens usable again (prefill, or reload if faster)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything a decision may depend on besides the program or turn it is about."""

    now_s: float
    engine: EngineView
    history: History = field(repr=False)
