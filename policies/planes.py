"""The planes in which a policy decides. Every default is what stock vLLM does, so a policy is only what it changes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.moved import missing
from continuum_sim.policies.views import EngineCounts, Moment, ProgramView, ReplicaView, RoutedTurn, TurnView


class Fate(Enum):
    """What happens to a finished turn's blocks if they are not pinned."""

    RELEASE = "release"
    """Freed but still cached: reusable until LRU eviction reaches them (vLLM with prefix caching)."""
    EVICT = "evict"
    """Freed and dropped from the cache at once: the next turn computes its whole prompt again."""
    OFFLOAD = "offload"
    """Copied to host memory and freed; the next turn reloads what was evicted meanwhile. Without a tier, `RELEASE`."""


class PinFor(NamedTuple):
    """Keep the blocks referenced for at most `ttl_s` seconds after the end of the turn."""

    ttl_s: float


Decision = Fate | PinFor


class Review(NamedTuple):
    """Outcome of `Retention.review`."""

    give_up: Sequence[ProgramView] = ()
    """Programs whose pins end now."""
    again_s: float = math.inf
    """Earliest time at which the answer may change if nothing else happens; infinite if it never does. The host asks
    again at the first step that starts no earlier than 1e-9 s before this time, and a rule should treat that step as
    being at this time."""
    offload: Sequence[ProgramView] = ()
    """Programs whose contexts move to host memory now, which ends their pins."""
    bring: Sequence[ProgramView] = ()
    """Programs whose contexts come back from host memory now, in this order, each only if it fits into free blocks."""


def _follows(cls: type, flag: str, base: type, *methods: str) -> None:
    """Set a flag to whether a rule overrides any of these methods, so that no override is ever ignored.

    Raises
    ------
    PolicyError
        If the class sets the flag itself and contradicts its methods.
    """
    used = any(getattr(cls, method) is not getattr(base, method) for method in methods)
    if vars(cls).get(flag, used) is not used:
        does = "overrides" if used else "does not override"
        raise PolicyError(
            f"{cls.__name__}.{flag} is {vars(cls)[flag]!r}, but the class {does} {' or '.join(methods)}; "
            "leave the flag out, it follows from the methods"
        )
    setattr(cls, flag, used)


@dataclass(frozen=True)
class Order:
    """Which waiting turn is tried first, and which running turn is preempted when a block is missing."""

    keyed: ClassVar[bool] = False
    """Whether the rule overrides `key`; set automatically. If it does not, the engine keeps its own queue: first come
    first served, with preempted turns in front."""
    time_varying: ClassVar[bool] = False
    """True if keys change while nothing happens (ageing), at the times `next_change_s` returns. Set automatically for a
    rule that overrides `next_change_s`."""
    sees_cache: ClassVar[bool] = False
    """True asks the host to look up `TurnView.cached_tokens` when a turn arrives."""
    oracle: ClassVar[bool] = False
    """True for a rule that looks ahead (`ProgramView.foresight`), which runs in the simulator only."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _follows(cls, "keyed", Order, "key")
        if cls.next_change_s is not Order.next_change_s:
            _follows(cls, "time_varying", Order, "next_change_s")

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return the sort key of a waiting turn: smallest first, ties in order of arrival."""
        return None

    def next_change_s(self, turn: TurnView, now_s: float) -> float:
        """Return the time until which a waiting turn's key stays as it is if nothing happens to its program.

        Called only if `time_varying`. The default, `now_s`, makes the host sort the queue again at every step.
        """
        return now_s

    def victim(self, running: Sequence[TurnView]) -> int:
        """Return the index of the running turn to preempt.

        `running` is in order of admission and not empty; `computed_tokens` of its turns is up to date.
        """
        return len(running) - 1


@dataclass(frozen=True)
class Retention:
    """What happens to a program's blocks while its tool runs. After the program's last turn they are always freed."""

    oracle: ClassVar[bool] = False
    keeps_nothing: ClassVar[bool] = False
    """True evicts the blocks of a program's last turn as well, instead of leaving them cached for LRU eviction."""
    steady: ClassVar[bool] = False
    """True promises that the answer of `pin_to_break` changes only with an event (a turn arrives, is admitted or ends;
    a pin ends), so the simulator may jump over steps without asking again. In a cluster, only events of the same engine
    count: what other engines add to the history must not turn a refusal into consent."""

    yields_to_growth: ClassVar[bool] = False
    """True has `pin_to_break` called also when a running turn lacks a block, before any turn is preempted."""
    outlasts_admission: ClassVar[bool] = False
    """True keeps a pin while the program's next turn runs, until that turn ends or the pin expires, so the old context
    survives if the turn is preempted. By default the pin ends when the turn is admitted."""
    reviews: ClassVar[bool] = False
    """Whether the rule overrides `review`; set automatically."""
    offloads: ClassVar[bool] = False
    """True means that only what this rule offloads goes to host memory. By default every context is copied there, and
    those copies make way for what the rule offloads."""
    needs_tier: ClassVar[bool] = False
    """True for a rule that makes no sense without host memory below the KV cache."""
    recalls: ClassVar[bool] = False
    """True has `review` called also about contexts that this rule offloaded, and wakes an idle engine for it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _check_review(cls)
        _follows(cls, "reviews", Retention, "review")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Decide what happens to the blocks of a turn that just ended and is not the program's last."""
        return Fate.RELEASE

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Return the program whose pin to break because `head` does not fit, or None to let the head wait.

        `head` is the first waiting turn or, under `yields_to_growth`, a running turn. `pinned` holds every pinned
        program except the head's own (and, under `outlasts_admission`, those whose turn runs), in order of arrival, and
        is not empty. Called repeatedly until the head fits. If nothing runs, None would stop the engine forever, so the
        host then breaks the pin of the latest arrival anyway.
        """
        return None

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        """Reconsider the contexts of programs whose tools still run: which to give up, offload or bring back.

        `pinned` holds the programs with a pin, in order of arrival; `away`, under `recalls`, those whose contexts this
        rule offloaded, in the order in which they left. Called at the start of every step while either holds any. A
        context that is brought back is pinned without expiry once it has arrived; one that finds no room is asked about
        again.

        Unless something happens, the simulator jumps over the steps before `Review.again_s`, so the answer must not
        change earlier without an event: neither with time nor as running turns grow into free blocks. What a step does
        counts as an event, whether it carries out this answer or breaks a pin for a turn's growth; the next step then
        asks again. Never offload a context right after bringing it back: while its blocks are still cached nothing is
        copied, and it would leave and return forever at the same instant.
        """
        return Review()


def _check_review(cls: type[Retention]) -> None:
    """Refuse rules written for the contract of version 0.1, and say what to change.

    Raises
    ------
    PolicyError
        If the class has a `recall`, or a `review` without `away`.
    """
    if "recall" in vars(cls):
        raise PolicyError(
            f"{cls.__name__}.recall is part of review now: set recalls = True and answer from "
            "review(self, pinned, away, moment) with Review(bring=…, again_s=…)"
        )
    if "review" in vars(cls) and len(signature(cls.review).parameters) != len(signature(Retention.review).parameters):
        raise PolicyError(
            f"{cls.__name__}.review takes {signature(cls.review)}, expected (self, pinned, away, moment): "
            "the programs whose contexts are in host memory come second now"
        )


LEAST_PERIOD_S: Final = 1e-3
"""Shortest period of a gate. Scheduler steps take longer, so a shorter one is a slip: it would count ticks forever."""


def check_period(period_s: float) -> None:
    """Refuse a period with which no gate can work.

    Raises
    ------
    PolicyError
        If it is not a finite number of seconds of at least `LEAST_PERIOD_S`.
    """
    if not (math.isfinite(period_s) and period_s >= LEAST_PERIOD_S):
        expected = f"a finite number of seconds above 0, at least {LEAST_PERIOD_S:g}"
        raise PolicyError(f"period is {period_s}, expected {expected}")


class Gate:
    """The part of an admission rule that acts. Each engine has a gate of its own, so a gate may keep state."""

    period_s: float | None = None
    """Seconds between calls to `tick`; None for a gate that acts on events alone."""

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        """Return whether this turn may be tried now; if not, it is held and the queue moves on to the next turn.

        Must not change any state, because a turn that may be tried need not fit. Never called for turns of sub-agents,
        which may always be tried: the program that started them was let in and waits for them.
        """
        return True

    def tick(self, programs: Sequence[ProgramView], moment: Moment) -> None:
        """Act once every `period_s` seconds, at the first scheduler step after the period has passed."""

    def turn_arrived(self, turn: TurnView, moment: Moment) -> None:
        """React to a turn that enters the queue."""

    def turn_admitted(self, turn: TurnView, cached_tokens: int, moment: Moment) -> None:
        """React to a turn that enters the batch, with `cached_tokens` tokens of its prompt found in the cache."""

    def turn_ended(self, program: ProgramView, moment: Moment) -> None:
        """React to the end of a turn, before `Retention.at_turn_end`; the program is in a tool call now."""

    def program_left(self, program: ProgramView) -> None:
        """React to a program that ended or will not be heard from again."""


@dataclass(frozen=True)
class Admission(Gate):
    """Whether a waiting turn may be tried at all. A rule without state is its own gate."""

    gated: ClassVar[bool] = False
    """Whether the rule overrides `allows` or `start`; set automatically. If not, the host never asks and every turn may
    be tried."""
    steady: ClassVar[bool] = False
    """True promises that the answer of `allows` changes only with an event or a tick."""
    oracle: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _follows(cls, "gated", Admission, "allows", "start")

    def start(self) -> Gate:
        """Make the gate of one engine; a rule that keeps state returns a new object."""
        return self


class Router(ABC):
    """The part of a routing rule that acts. Each cluster has a router of its own, so a router may keep state."""

    reads_counts: ClassVar[bool] = False
    """Whether the rule overrides `counts_published`; set automatically."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _follows(cls, "reads_counts", Router, "counts_published")

    @abstractmethod
    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Return the number of the replica that this turn goes to; the choice is final.

        `replicas` holds those that the turn fits into, in order of number, and is not empty; the program's home
        need not be among them.
        """

    def program_left(self, program_id: str) -> None:  # noqa: B027 (most keep no state)
        """React to a program that ended."""

    def turn_ended(self, program_id: str) -> None:  # noqa: B027
        """React to the end of a program's turn, or to an abort that the engine has carried out."""

    def counts_published(self, counts: Mapping[int, EngineCounts]) -> None:  # noqa: B027
        """React to what a coordinator of data-parallel ranks published, at most every 100 ms: counts by replica.

        Called before `route` with the latest that were published before that turn, if they are new.
        """


@dataclass(frozen=True)
class Routing(ABC):
    """Which replica of a cluster a turn goes to. Not asked if there is only one."""

    @abstractmethod
    def start(self) -> Router:
        """Make the router of one cluster."""


def keeps_contexts(retention: Retention) -> bool:
    """Return whether a rule keeps contexts for their next turns, which find them through the prefix cache."""
    return type(retention).at_turn_end is not Retention.at_turn_end and not retention.keeps_nothing


@dataclass(frozen=True)
class Policy:
    """A composition of planes with the name it is known by.

    Examples
    --------
    Short prompts first, and every paused context pinned for two seconds. The other planes stay vLLM's.

    >>> class ShortFirst(Order):
    ...     def key(self, turn, now_s):
    ...         return turn.prompt_tokens
    >>> class PinTwoSeconds(Retention):
    ...     def at_turn_end(self, program, moment):
    ...         return PinFor(2.0)
    >>> policy = Policy("short-pinned", order=ShortFirst(), retention=PinTwoSeconds())
    >>> policy.describe()
    {'name': 'short-pinned', 'order': 'ShortFirst()', 'retention': 'PinTwoSeconds()', 'admission': 'Admission()'}
    """

    name: str
    order: Order = Order()
    retention: Retention = Retention()
    admission: Admission = Admission()
    routing: Routing | None = None
    """None leaves routing to the settings of the cluster: an engine does not route, so there is no stock behaviour."""

    @property
    def oracle(self) -> bool:
        """Whether any plane looks ahead; such a policy runs in the simulator only."""
        return self.order.oracle or self.retention.oracle or self.admission.oracle

    def describe(self) -> dict[str, str]:
        """Return the name, and the planes with their parameters, as text for manifests and the command line."""
        planes = {
            "name": self.name,
            "order": repr(self.order),
            "retention": repr(self.retention),
            "admission": repr(self.admission),
        }
        return planes if self.routing is None else {**planes, "routing": repr(self.routing)}


def leaves_order(policy: Policy) -> bool:
    """Return whether a policy leaves it to the engine which turn goes first and which is preempted."""
    return not (policy.order.keyed or policy.admission.gated or type(policy.order).victim is not Order.victim)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        raise missing(__name__, name)
