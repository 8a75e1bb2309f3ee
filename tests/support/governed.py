"""A policy driven by hand: a governor, an engine in any state that the test sets, and the turns in between."""

from __future__ import annotations

from dataclasses import dataclass, field

from continuum_sim.policies import Decision, PinFor, Policy
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.views import Foresight, ProgramView, TierView, TurnView
from continuum_sim.setup.notation import parse_policy


@dataclass
class HandEngine:
    """An `EngineView` with settable state; rebuilding takes a second per 100 tokens by default."""

    total_blocks: int = 100
    block_size: int = 1
    free_blocks: int = 100
    pinned_blocks: int = 0
    num_running: int = 0
    num_waiting: int = 0
    shortest_waiting_tokens: int = 0
    tier: TierView | None = None
    per_token_s: float = 0.01
    per_step_s: float = 0.0

    def rebuild_s(self, context_tokens: int) -> float:
        return self.per_step_s + self.per_token_s * context_tokens


@dataclass
class HandTier:
    """A `TierView` with settable state; each token takes a millisecond."""

    total_blocks: int = 1000
    free_blocks: int = 1000
    link_free_s: float = 0.0

    @property
    def spare_blocks(self) -> int:
        return self.free_blocks

    def transfer_s(self, tokens: int) -> float:
        return tokens * 1e-3


class HandContexts:
    """Remembers what a ledger has freed; whether a context finds room to come back is what the test says."""

    def __init__(self) -> None:
        self.freed: list[str] = []
        self.offloaded: list[str] = []
        self.asked: list[str] = []
        self.room = True

    def unpin(self, program: ProgramView) -> None:
        self.freed.append(program.program_id)

    def offload(self, program: ProgramView, now_s: float) -> None:
        assert program.pin is not None, "it is still there"
        self.offloaded.append(program.program_id)

    def recall(self, program: ProgramView, now_s: float) -> int | None:
        self.asked.append(program.program_id)
        return program.context_tokens if self.room else None


@dataclass
class Governed:
    """Tells a governor what happens to programs, in short notation."""

    spec: str | Policy
    engine: HandEngine = field(default_factory=HandEngine)
    contexts: HandContexts = field(default_factory=HandContexts)
    governor: Governor = field(init=False)

    def __post_init__(self) -> None:
        policy = parse_policy(self.spec) if isinstance(self.spec, str) else self.spec
        self.governor = Governor(policy, self.engine, PinLedger(self.contexts))

    @property
    def policy(self) -> Policy:
        return self.governor.policy

    def arrive(self, program: str, at: float, prompt: int = 10, foresight: Foresight | None = None) -> TurnView:
        turn = self.governor.turn_arrived(program, prompt, at)
        turn.program.foresight = foresight
        return turn

    def run(self, program: str, at: float, prompt: int = 10, cached: int = 0) -> TurnView:
        """Let a turn arrive and be admitted at once."""
        turn = self.arrive(program, at, prompt)
        self.governor.turn_admitted(turn, cached, at)
        return turn

    def end(
        self,
        turn: TurnView,
        at: float,
        context: int | None = None,
        *,
        tool: str | None = "ls",
        last: bool = False,
        computed: int = 0,
        blocks: int | None = None,
        foresight: Foresight | None = None,
    ) -> Decision:
        context = turn.prompt_tokens if context is None else context
        blocks = context if blocks is None else blocks
        decision = self.governor.turn_ended(
            turn,
            context_tokens=context,
            computed_tokens=computed,
            tool=tool,
            last=last,
            blocks=blocks,
            now_s=at,
            foresight=foresight,
        )
        if isinstance(decision, PinFor):
            self.governor.pins.start(turn.program, decision.ttl_s, blocks, at)
        return decision

    def live(
        self, program: str, at: float, until: float, context: int = 10, foresight: Foresight | None = None
    ) -> TurnView:
        """Run a whole turn; the program is in a tool call from `until` on."""
        turn = self.run(program, at, context)
        self.end(turn, until, context, foresight=foresight)
        return turn

    def step(self, at: float) -> list[str]:
        """Start a scheduler step; names of the programs whose pins end with it."""
        self.contexts.freed.clear()
        self.governor.begin_step(at)
        return list(self.contexts.freed)

    def allows(self, turn: TurnView, at: float) -> bool:
        return self.governor.allows(turn, at)

    def order(self, *turns: TurnView, at: float) -> list[str]:
        """Return the names of waiting turns in the order in which they are tried."""
        key = self.policy.order.key
        return [turn.program.program_id for turn in sorted(turns, key=lambda turn: key(turn, at))]

    def breaks(self, head: TurnView, at: float) -> str | None:
        """Return the program whose pin breaks because `head` does not fit."""
        program = self.governor.pin_to_break(head, at)
        return None if program is None else program.program_id

    def remember(self, tool: str, *durations: float) -> None:
        """Set past durations of a tool."""
        for seconds in durations:
            self.governor.history.tool_returned(tool, seconds)

    def recalls(self, at: float, *, room: bool = True) -> list[str]:
        """Names of the programs whose contexts are to come back from host memory; without room none does."""
        self.contexts.asked.clear()
        self.contexts.room = room
        self.governor.begin_step(at)
        return list(self.contexts.asked)
