"""The planes a policy decides in. Every default is what stock vLLM does, so a policy is only what it changes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.moved import missing
from continuum_sim.policies.views import Moment, ProgramView, ReplicaView, RoutedTurn, TurnView


class Fate(Enum):
    """What becomes of a finished turn's blocks when they are not pinned."""

    RELEASE = "release"
    """Freed but left reusable until the LRU order reaches them (vLLM with prefix caching)."""
    EVICT = "evict"
    """Freed and forgotten at once: the next turn computes its whole prompt again."""
    OFFLOAD = "offload"
    """Copied to host memory and freed: what is evicted meanwhile, the next turn reloads. Without a tier `RELEASE`."""


class PinFor(NamedTuple):
    """Keep the blocks referenced for at most `ttl_s` seconds after the end of the turn."""

    ttl_s: float


Decision = Fate | PinFor


class Review(NamedTuple):
    """Outcome of `Retention.review`."""

    give_up: Sequence[ProgramView] = ()
    """Programs whose pins end now."""
    again_s: float = math.inf
    """Earliest time at which the answer may change if nothing else happens; infinite if it never does. The host asks at
    the first step from 1e-9 s before, which counts as that time."""
    offload: Sequence[ProgramView] = ()
    """Programs whose contexts go to host memory now, which ends their pins."""
    bring: Sequence[ProgramView] = ()
    """Programs whose contexts come back from host memory now, in this order, each if it fits into free blocks."""


def _follows(cls: type, flag: str, base: type, *methods: str) -> None:
    """Set a flag that says whether a rule overrides any of these methods, so that none is ever ignored.

    Raises
    ------
    PolicyError
        If the class sets the flag itself, to the contrary.
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
    """Which waiting turn is tried first, and which running turn yields when a block is missing."""

    keyed: ClassVar[bool] = False
    """Whether `key` is overridden. If not, the engine's own queue is left alone: first come first served, preempted
    turns in front."""
    time_varying: ClassVar[bool] = False
    """True if keys change while nothing happens (ageing), at the times that `next_change_s` tells. Who overrides that
    need not say so."""
    sees_cache: ClassVar[bool] = False
    """True asks the host to look up `TurnView.cached_tokens` when a turn arrives."""
    oracle: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _follows(cls, "keyed", Order, "key")
        if cls.next_change_s is not Order.next_change_s:
            _follows(cls, "time_varying", Order, "next_change_s")

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Sort key of a waiting turn, smallest first; ties keep the order of arrival."""
        return None

    def next_change_s(self, turn: TurnView, now_s: float) -> float:
        """Tell until when the key of a waiting turn stays as it is now if nothing happens to its program.

        Asked if `time_varying`. The default, `now_s`, has the queue sorted anew at every step.
        """
        return now_s

    def victim(self, running: Sequence[TurnView]) -> int:
        """Index of the running turn to preempt; `running` is in order of admission and not empty.

        `computed_tokens` of its turns is up to date in the simulator.
        """
        return len(running) - 1


@dataclass(frozen=True)
class Retention:
    """What happens to a program's blocks while its tool runs. After its last turn they are always given up."""

    oracle: ClassVar[bool] = False
    keeps_nothing: ClassVar[bool] = False
    """True forgets the blocks of a program's last turn as well, instead of leaving them to LRU eviction."""
    steady: ClassVar[bool] = False
    """True promises that `pin_to_break` changes its answer only with an event (a turn that arrives, is admitted
    or ends, a pin that ends), so that the simulator may jump over steps without asking again. In a cluster the
    event must be one of the same engine: what others add to the history must not turn a refusal into consent."""

    yields_to_growth: ClassVar[bool] = False
    """True asks `pin_to_break` also when a running turn lacks a block, before any turn is preempted."""
    outlasts_admission: ClassVar[bool] = False
    """True keeps a pin while the program's next turn runs, until that turn ends or the pin expires; so if the
    turn is preempted, its old context stays. By default the pin ends when the turn is admitted."""
    reviews: ClassVar[bool] = False
    """Whether `review` is overridden."""
    offloads: ClassVar[bool] = False
    """True leaves it to this rule alone what goes to host memory; by default a copy of every context does, and what the
    rule offloads is kept there before those copies."""
    needs_tier: ClassVar[bool] = False
    """True for a rule that is nothing without host memory below the KV cache."""
    recalls: ClassVar[bool] = False
    """True has `review` think about contexts that this rule offloaded as well, and wakes an idle engine for them."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _check_review(cls)
        _follows(cls, "reviews", Retention, "review")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Decide the fate of the blocks of a turn that just ended and is not the program's last."""
        return Fate.RELEASE

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Name the pin to give up because `head` does not fit, or None to let it wait.

        `head` is the first waiting turn, or a running one under `yields_to_growth`. `pinned` holds every pinned
        program but the head's own, in order of arrival, and is not empty. Asked again until the head fits. When
        nothing runs a refusal would stop the engine for good, so the host then breaks the latest arrival's pin
        itself.
        """
        return None

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        """Think again about the contexts of programs whose tools still run: which to give up, offload or bring back.

        `pinned` holds the programs with a pin, in order of arrival; `away`, under `recalls`, those whose contexts this
        rule offloaded, in the order in which they went. Asked at the start of every step while there are any. What is
        brought back is pinned without expiry once it has come; what finds no room is asked about again.

        The simulator jumps over steps until `Review.again_s` unless something happens before, so no answer may change
        earlier by itself: not with time, nor as running turns grow into free blocks. What this step itself does
        happens too, be it what was answered here or a pin that breaks for a turn's growth: then the next step asks
        again. A context that is to come back must not be offloaded again at once: while its blocks are still cached
        nothing moves, and it would go and come at one instant for ever.
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
"""Of a gate: scheduler steps take longer, so a shorter period is a slip, and a run would count its ticks for ever."""


def check_period(period_s: float) -> None:
    """Refuse a period in which no gate can act.

    Raises
    ------
    PolicyError
        If it is not a finite number of seconds of at least `LEAST_PERIOD_S`.
    """
    if not (math.isfinite(period_s) and period_s >= LEAST_PERIOD_S):
        expected = f"a finite number of seconds above 0, at least {LEAST_PERIOD_S:g}"
        raise PolicyError(f"period is {period_s}, expected {expected}")


class Gate:
    """The acting part of an admission rule. Each engine has its own, so it may remember what it did."""

    period_s: float | None = None
    """Seconds between calls of `tick`; None for a gate that acts on events alone."""

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        """Tell whether this turn may be tried now; a held turn is passed over, not waited for.

        Changes nothing: a turn that may be tried need not fit. Turns of sub-agents may always be, without being asked
        about: the program that started them was let in, and waits for them.
        """
        return True

    def tick(self, programs: Sequence[ProgramView], moment: Moment) -> None:
        """Act every `period_s` seconds, at the first scheduler step after they have passed."""

    def turn_arrived(self, turn: TurnView, moment: Moment) -> None:
        """Take note of a turn that enters the queue."""

    def turn_admitted(self, turn: TurnView, cached_tokens: int, moment: Moment) -> None:
        """Take note of a turn that enters the batch and hits so many tokens of its prompt in the cache."""

    def turn_ended(self, program: ProgramView, moment: Moment) -> None:
        """Take note of a turn that ended, before `Retention.at_turn_end`; the program is in a tool call now."""

    def program_left(self, program: ProgramView) -> None:
        """Take note of a program that ended or will not be heard of again."""


@dataclass(frozen=True)
class Admission(Gate):
    """Whether a waiting turn may be tried at all. A rule without memory is its own gate."""

    gated: ClassVar[bool] = False
    """Whether `allows` or `start` is overridden. If neither is, everything is admitted and the host never asks."""
    steady: ClassVar[bool] = False
    """True promises that `allows` changes its answer only with an event or a tick."""
    oracle: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _follows(cls, "gated", Admission, "allows", "start")

    def start(self) -> Gate:
        """Make the gate of one engine; a rule that remembers something returns an object of its own."""
        return self


class Router(ABC):
    """The acting part of a routing rule. Each cluster has its own, so it may remember what it did."""

    @abstractmethod
    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Choose the replica that this turn goes to, by number, once and for all.

        `replicas` holds those that the turn fits into, in order of number, and is not empty; the program's home
        need not be among them.
        """

    def program_left(self, program_id: str) -> None:  # noqa: B027 (most remember nothing)
        """Take note of a program that ended."""


@dataclass(frozen=True)
class Routing(ABC):
    """Which replica of a cluster a turn goes to. Nobody asks where there is but one."""

    @abstractmethod
    def start(self) -> Router:
        """Make the router of one cluster."""


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
    """None leaves it to whoever sets the cluster up: engines route nothing, so there is no stock behaviour."""

    @property
    def oracle(self) -> bool:
        """Whether any plane looks ahead; such a policy runs in the simulator only."""
        return self.order.oracle or self.retention.oracle or self.admission.oracle

    def describe(self) -> dict[str, str]:
        """Name and planes with their parameters, as text, for manifests and the command line."""
        planes = {
            "name": self.name,
            "order": repr(self.order),
            "retention": repr(self.retention),
            "admission": repr(self.admission),
        }
        return planes if self.routing is None else {**planes, "routing": repr(self.routing)}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        raise missing(__name__, name)
