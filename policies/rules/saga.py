"""`saga`: retention for as long as the tool is likely to take, given up by a score of idleness, reuse and size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from continuum_sim.policies import (
    Decision,
    Durations,
    Fate,
    Moment,
    PinFor,
    PolicyError,
    Preset,
    ProgramView,
    SoftPins,
    TurnView,
    instant,
    register_preset,
    register_retention,
    used_share,
)
from continuum_sim.policies.rules.saga_placement import SagaPlacement

_MIN_RECORDS = 2
"""Recorded calls that a tool needs for a log-normal of its own; with fewer, all tools stand in for it."""
_NORMAL = NormalDist()


@register_retention("saga")
@dataclass(frozen=True)
class Saga(SoftPins):
    """Keep a context for τ = min(cap, p95(tool) · (1 − 0.5·clip((U − 0.7) / 0.2, 0, 1))) seconds.

    p95 is that of a log-normal fitted to the tool's durations so far, U the used share of KV blocks. When space is
    needed, the context with the highest score goes first: 0.3·idle/max + 0.5·(1 − p_reuse) + 0.2·size/max, with
    idle the seconds since its turn ended, size its blocks, and the maxima over all kept contexts. p_reuse, which
    the paper takes from its execution graphs, is here the probability that the tool returns before τ, given that
    it has not returned yet, under the same log-normal; it is 1 for a context whose turn waits.
    """

    quantile: float = field(
        default=0.95, metadata={"help": "share of a tool's calls that τ covers", "search": "0.5:0.99"}
    )
    cap: float = field(default=300.0, metadata={"help": "longest retention in seconds", "search": "1:1000:log"})
    idle_weight: float = field(default=0.3, metadata={"help": "weight of idleness in the score", "search": "0:1"})
    reuse_weight: float = field(
        default=0.5, metadata={"help": "weight of unlikely reuse in the score", "search": "0:1"}
    )
    size_weight: float = field(default=0.2, metadata={"help": "weight of size in the score", "search": "0:1"})

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1:
            raise PolicyError(f"quantile is {self.quantile}, expected a share between 0 and 1")
        for name in ("cap", "idle_weight", "reuse_weight", "size_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PolicyError(f"{name} is {value}, expected a finite number, 0 or more")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Keep for τ; release until two tool calls have been recorded."""
        durations = _durations(program, moment)
        if durations is None:
            return Fate.RELEASE
        shorten = 0.5 * min(1.0, max(0.0, (used_share(moment.engine) - 0.7) / 0.2))
        mean, sigma = durations.lognormal()
        return PinFor(min(self.cap, math.exp(mean + sigma * _NORMAL.inv_cdf(self.quantile)) * (1 - shorten)))

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Return the program with the highest score; the latest on ties."""
        now_s = moment.now_s
        longest_s = max(_idle_s(p, now_s) for p in pinned) or 1.0
        largest = max(_blocks(p) for p in pinned) or 1

        def score(program: ProgramView) -> tuple[float, int]:
            idle = self.idle_weight * _idle_s(program, now_s) / longest_s
            reuse = self.reuse_weight * (1 - p_reuse(program, moment))
            size = self.size_weight * _blocks(program) / largest
            return instant(idle + reuse + size), program.seq

        return max(pinned, key=score)


def p_reuse(program: ProgramView, moment: Moment) -> float:
    """Return P(tool returns before the pin expires | not returned yet), by a log-normal of the tool's durations."""
    durations = _durations(program, moment)
    if program.turn is not None or program.pin is None:
        return 1.0
    if durations is None:
        return 0.0
    idle_s = _idle_s(program, moment.now_s)
    gone = _share_within(durations, idle_s)
    in_time = _share_within(durations, idle_s + max(0.0, program.pin.expires_s - moment.now_s))
    return (in_time - gone) / (1 - gone) if gone < 1 else 0.0


def _share_within(durations: Durations, seconds: float) -> float:
    """Return P(duration ≤ seconds) under the fitted log-normal."""
    if seconds <= 0:
        return 0.0
    if seconds == math.inf:
        return 1.0
    mean, sigma = durations.lognormal()
    log = math.log(seconds)
    return _NORMAL.cdf((log - mean) / sigma) if sigma > 0 else float(log >= mean)


def _durations(program: ProgramView, moment: Moment) -> Durations | None:
    history = moment.history
    own = history.of_tool(program.last_tool)
    durations = own if len(own) >= _MIN_RECORDS else history.all_tools
    return durations if len(durations) >= _MIN_RECORDS else None


def _idle_s(program: ProgramView, now_s: float) -> float:
    return 0.0 if program.turn_end_s is None else now_s - program.turn_end_s


def _blocks(program: ProgramView) -> int:
    return program.pin.blocks if program.pin is not None else 0


register_preset(
    Preset(
        name="saga",
        rule="Keeps a paused context for the 95th percentile of its tool's log-normal, shortened by up to half as the "
        "used share of KV goes from 0.7 to 0.9, at most 300 s; when space is needed gives up the highest score of "
        "idleness, unlikely reuse and size. Queue order is stock vLLM's. In a cluster a program stays home while less "
        "than max_load of the KV there is used, else goes to the least loaded replica.",
        source="SAGA (arXiv 2605.00528, HPDC 2026), retention, eviction and placement; p_reuse is our reading",
        retention=Saga,
        routing=SagaPlacement,
    )
)
