"""One turn as its client sees it: sent, perhaps refused or too late, sent again, answered or given up."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import simpy

from continuum_sim.engine.clock import Clock
from continuum_sim.engine.replica import Replica
from continuum_sim.engine.request import Request
from continuum_sim.traces.schema import Turn
from continuum_sim.world.clients.draws import ClientDraws

Submit: TypeAlias = Callable[[float, int, Request | None], tuple[Replica, Request] | None]
"""Sends a turn at a time in s, with the tokens after which its client hangs up and its last request that was aborted;
returns None if the server refuses it."""


@dataclass(slots=True)
class ClientTotals:
    """What clients did in a run."""

    aborted: int = 0
    """Turns whose clients hung up before the last token."""
    timed_out: int = 0
    """Requests that a client gave up on, after its own time-out or its job's."""
    refused: int = 0
    """Requests that the server answered with 503."""
    retries: int = 0
    """Requests sent again."""
    given_up: int = 0
    """Programs, without sub-agents, that their clients gave up."""
    lost_tokens: int = 0
    """Tokens computed for requests that timed out."""


class Answer(NamedTuple):
    """A turn that was answered, at least in part."""

    replica: Replica
    request: Request
    end_s: float
    output_tokens: int
    """Tokens that its client took."""
    retry_s: float
    """Seconds from the first request for it to the one that was answered."""
    requests: int


class Sender:
    """The clients of a run, and counts of what they did."""

    def __init__(self, env: Clock, draws: ClientDraws) -> None:
        self._config = draws.config
        self.totals = ClientTotals()
        self._env = env
        self._draws = draws

    def deadline_s(self, arrival_s: float) -> float:
        """Return when a program that arrives at that time is given up."""
        return arrival_s + self._config.job_timeout_s

    def send(
        self, program_id: str, index: int, turn: Turn, now_s: float, deadline_s: float, submit: Submit
    ) -> Generator[simpy.Event, Any, Answer | float]:
        """Send a turn until it is answered; return the time in s if its client gives up instead."""
        wanted_tokens = self._draws.wanted_tokens(program_id, index, turn)
        sent_s = now_s
        dropped: Request | None = None
        for retry in range(self._config.retries + 1):
            if retry:
                wait_s = self._draws.wait_s(program_id, index, retry)
                if now_s + wait_s >= deadline_s:
                    yield self._env.instant(deadline_s)
                    return deadline_s
                yield self._env.after(now_s, wait_s)
                now_s += wait_s
                self.totals.retries += 1
            until_s = min(now_s + self._config.request_timeout_s, deadline_s)
            if way_s := self._config.way_s:
                yield self._env.after(now_s, way_s)
            accepted = submit(now_s + way_s, wanted_tokens, dropped)
            if accepted is None:
                self.totals.refused += 1
                if way_s:
                    now_s += 2 * way_s
                    yield self._env.instant(now_s)
                continue
            replica, request = accepted
            dropped = None
            end_s, in_time = yield from self._answer(replica, request, until_s)
            if in_time:
                tokens = wanted_tokens if request.aborted else request.max_tokens
                self.totals.aborted += request.aborted
                return Answer(replica, request, end_s, tokens, now_s - sent_s, retry + 1)
            self.totals.timed_out += 1
            self.totals.lost_tokens += request.work_tokens
            if until_s >= deadline_s:
                return deadline_s
            now_s, dropped = end_s, request
        return now_s

    def _answer(
        self, replica: Replica, request: Request, until_s: float
    ) -> Generator[simpy.Event, Any, tuple[float, bool]]:
        """Wait for a request's end, but not beyond `until_s`; return its time in s, and whether it came by itself.

        Both times are the client's: the engine hears later that it left, and what it ends in the meantime is lost.
        """
        ended, way_s = request.ended, self._config.way_s
        assert ended is not None
        in_time = True
        if math.isfinite(until_s):
            yield ended | self._env.instant(until_s + way_s)
            if not ended.triggered:
                replica.abort(request, until_s + way_s)
                in_time = False
        end_s: float = yield ended
        if way_s:
            in_time = in_time and end_s + way_s <= until_s
            end_s = end_s + way_s if in_time else max(end_s, until_s)
            yield self._env.instant(end_s)
        return end_s, in_time
