"""One turn inside the engine, and the KV content of the program it belongs to."""

from __future__ import annotations

import simpy

from continuum_sim.engine.chain import BlockRun, Chain
from continuum_sim.engine.offload.tier import Stretch
from continuum_sim.engine.speculation.turn import DraftedTurn
from continuum_sim.policies.views import Foresight, ProgramView, TurnView

Hits = list[tuple[BlockRun, int, int]]
"""Cached stretches (run, from block, to block), contiguous from block 0."""


class Context:
    """Where a program's KV content is on one replica."""

    __slots__ = ("own", "pinned", "shared", "shared_blocks", "upload")

    def __init__(self, shared: Chain | None = None, shared_blocks: int = 0) -> None:
        self.shared = shared
        """Content of a prefix that several programs share, or None."""
        self.shared_blocks = shared_blocks
        """Leading blocks that hold nothing but the shared prefix; a block shared in part is the program's own."""
        self.own = Chain()
        self.pinned: list[BlockRun] = []
        """Blocks that a pin keeps referenced."""
        self.upload: Upload | None = None
        """The recall under way that brings it back from a lower tier, if any."""

    def find(self, stop: int) -> Hits:
        """Return the longest cached prefix of at most `stop` blocks, as contiguous stretches (run, from, to)."""
        if self.shared is None:
            return self.own.find(0, stop)
        hits = self.shared.find(0, min(stop, self.shared_blocks))
        if (hits[-1][2] if hits else 0) == self.shared_blocks:
            hits.extend(self.own.find(self.shared_blocks, stop))
        return hits

    def parts(self, start: int, stop: int) -> list[Stretch]:
        """Return blocks [start, stop) as stretches: of the shared prefix, then of the program's own content."""
        parts = []
        shared_stop = min(stop, self.shared_blocks)
        if self.shared is not None and start < shared_stop:
            parts.append(Stretch(self.shared, start, shared_stop))
            start = shared_stop
        if start < stop:
            parts.append(Stretch(self.own, start, stop))
        return parts


class Upload:
    """Blocks [start, stop) of a paused program's context on their way up; those before `start` are still cached."""

    __slots__ = ("context", "program", "request", "start", "stop", "table")

    def __init__(self, context: Context, program: ProgramView, start: int, stop: int) -> None:
        self.context = context
        self.program = program
        self.start = start
        self.stop = stop
        self.table: list[BlockRun] = []
        """Blocks [0, start); once the upload has arrived, blocks [0, stop)."""
        self.request: Request | None = None
        """The program's next turn, if it was admitted before the blocks arrived."""


class Flight:
    """What vLLM's `Request` knows of a turn's steps under way, on an engine with several pipeline stages."""

    __slots__ = ("eligible_step", "hashed_tokens", "in_flight_tokens", "last_token_s", "output_placeholders", "stale")

    def __init__(self) -> None:
        self.in_flight_tokens = 0
        """Tokens in steps that are planned and not over."""
        self.output_placeholders = 0
        """Those of these steps that sample a token, also in vain."""
        self.eligible_step = 0
        """First call of `schedule` that may plan the turn again (`next_decode_eligible_step`)."""
        self.hashed_tokens = 0
        """Tokens whose full blocks vLLM has cached."""
        self.stale = False
        """Whether these steps were planned before the turn was preempted, so that it waits for them."""
        self.last_token_s = -1.0
        """When it got its latest token."""


class Request:
    """A turn from its arrival at the engine to its last token. Names follow vLLM's `Request`."""

    __slots__ = (
        "aborted",
        "aborts",
        "arrival_s",
        "behind_s",
        "cached_tokens",
        "context",
        "drafted",
        "ended",
        "finish_s",
        "first_token_s",
        "flight",
        "followed_at_once",
        "foresight",
        "has_all_tokens",
        "kept_tokens",
        "known_tokens",
        "last",
        "last_decode",
        "last_wanted",
        "loaded_tokens",
        "max_tokens",
        "num_computed_tokens",
        "num_output_tokens",
        "num_preemptions",
        "offset",
        "parent",
        "preempted_first_s",
        "preempted_from_s",
        "preempted_s",
        "priority",
        "prompt_tokens",
        "rank",
        "recomputed_tokens",
        "reload_began_s",
        "reload_blocks",
        "reload_s",
        "reloaded_tokens",
        "scheduled_s",
        "stops",
        "table",
        "tool",
        "turn",
        "wanted_tokens",
        "work_tokens",
    )

    def __init__(
        self,
        context: Context,
        *,
        prompt_tokens: int,
        kept_tokens: int,
        max_tokens: int,
        known_tokens: int,
        arrival_s: float,
        tool: str | None,
        last: bool,
        foresight: tuple[Foresight, Foresight] | None = None,
        ended: simpy.Event | None = None,
        followed_at_once: bool = True,
        parent: str | None = None,
        stops: bool = True,
        priority: int = 0,
        aborts: int = 0,
        wanted_tokens: int = 0,
        drafted: DraftedTurn | None = None,
    ) -> None:
        self.context = context
        self.prompt_tokens = prompt_tokens
        self.kept_tokens = kept_tokens
        """Leading prompt tokens equal to the previous turn's prompt and output."""
        self.max_tokens = max_tokens
        """Output tokens; the engine samples exactly this many."""
        self.known_tokens = known_tokens
        """Leading tokens whose KV was computed before, whether or not it is still cached."""
        self.arrival_s = arrival_s
        self.tool = tool
        """Tool that the last token calls; the policy learns this when the turn ends."""
        self.last = last
        """Whether the program ends with this turn; the policy learns this when the turn ends."""
        self.foresight = foresight
        """What oracles are told when the turn arrives, and what when it has ended."""
        self.ended = ended
        """Succeeds when the last token is sampled; its value is the time in s."""
        self.followed_at_once = followed_at_once
        """Whether another turn may arrive at the instant this one ends."""
        self.parent = parent
        """Program that started this turn's program as a sub-agent."""
        self.priority = priority
        """Its program's priority."""
        self.stops = stops
        """Whether the model ends the turn, which no step planned earlier foresees, or else the token limit does."""
        self.aborts = aborts
        """Requests of its program that were aborted before it."""
        self.wanted_tokens = wanted_tokens
        """Output tokens after which its client hangs up; 0 if it waits for all."""
        self.drafted = drafted
        """Its drafts, on an engine with speculative decoding."""
        self.flight: Flight | None = None
        """What steps under way compute of it, on an engine with several pipeline stages."""
        self.aborted = False
        """Whether its client left before its last token."""
        self.turn: TurnView
        self.table: list[BlockRun] = []
        """Blocks with content; the turn's other blocks are blank until it gives them up."""
        self.num_computed_tokens = 0
        """Tokens with KV after every planned step; while decoding, those when decoding began (see `offset`)."""
        self.num_output_tokens = 0
        """Tokens sampled, including those of planned steps; while decoding, those when decoding began."""
        self.has_all_tokens = False
        """Whether its last token is sampled, or will be by a planned step."""
        self.num_preemptions = 0
        self.rank = -1
        """Rank in the order of admission to the batch; -1 while waiting."""
        self.offset = 0
        """While decoding: computed tokens minus the engine's decode counter."""
        self.last_decode = -1
        """While decoding: decode counter at which the last token is planned; -1 otherwise."""
        self.last_wanted = -1
        """While decoding: decode counter at which the last token that its client waits for is planned; -1 if none."""
        self.cached_tokens = 0
        """Tokens of the prefix hit at first admission."""
        self.work_tokens = 0
        """Tokens computed for this turn, prefill and decode, including those computed again after a preemption."""
        self.recomputed_tokens = 0
        """Of `work_tokens`, prefill tokens whose KV had been computed before and was lost."""
        self.reload_blocks = (0, 0)
        """Blocks [start, stop) to reload from a lower tier before the turn can enter the batch."""
        self.loaded_tokens = 0
        """Tokens that it has once they have come."""
        self.reload_began_s = 0.0
        self.reloaded_tokens = 0
        """Tokens reloaded from a lower tier, including those reloaded again after a preemption."""
        self.reload_s = 0.0
        """Seconds by which reloading delayed its first admission to the batch."""
        self.preempted_from_s = -1.0
        """Time of its first preemption since its last token; -1 if there was none."""
        self.preempted_s = 0.0
        """Seconds from each preemption to the next token, summed: waiting and recomputing."""
        self.preempted_first_s = 0.0
        """Of `preempted_s`, seconds before its first token."""
        self.behind_s = 0.0
        """While decoding: seconds of the steps since its last token that left it out."""
        self.scheduled_s = -1.0
        self.first_token_s = -1.0
        self.finish_s = -1.0

    @property
    def decoding(self) -> bool:
        """Whether steps are planned that give it one token each."""
        return self.last_decode >= 0

    @property
    def counted_alone(self) -> bool:
        """Whether plans say of each turn what they compute of it: all decoding turns are no longer alike."""
        return self.drafted is not None or self.flight is not None

    @property
    def num_tokens(self) -> int:
        """Prompt plus sampled tokens."""
        return self.prompt_tokens + self.num_output_tokens

    @property
    def uncached_tokens(self) -> int:
        """Tokens it has yet to compute before it samples the next one, unless it decodes."""
        return self.num_tokens - self.num_computed_tokens
