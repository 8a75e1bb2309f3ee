"""One program on its way through a run: turn, tool, turn, … until its last token and those of its sub-agents."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import simpy

from continuum_sim.engine.clock import Clock
from continuum_sim.engine.replica import Replica
from continuum_sim.engine.request import Request
from continuum_sim.engine.speculation.turn import DraftedTurn
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.traces.schema import STOP, Program, Turn
from continuum_sim.world.clients import Answer, Sender
from continuum_sim.world.cluster import Cluster
from continuum_sim.world.drafts import DraftDraws
from continuum_sim.world.families import SubAgents
from continuum_sim.world.fits import check_fits
from continuum_sim.world.foresight import foresee
from continuum_sim.world.records import ProgramRecord, Recorder, TurnRecord
from continuum_sim.world.tools import ToolOutcomes, ToolRunner


@dataclass(slots=True)
class World:
    """What the programs of a run share."""

    env: Clock
    cluster: Cluster
    recorder: Recorder
    oracle: bool
    """Whether the policy is told about the future."""
    outcomes: ToolOutcomes | None
    """Outcomes of tool calls; like `tools`, None if each gap takes the time in the trace."""
    tools: ToolRunner | None
    clients: Sender | None
    """None if clients wait for every token and no server refuses them."""
    alone_s: Callable[[Program], float | None] | None
    """Returns the JCT of a program that has the engine to itself, for its record."""
    drafts: DraftDraws
    way_s: float = 0.0
    """Seconds from a client to the engine, and back."""
    closed: bool = False
    """Whether a program starts when another ends."""
    open: int = 0
    """Number of programs that have arrived but not finished."""


class Course:
    """The course of one program.

    Parameters
    ----------
    parent
        Program that started it as a sub-agent.
    deadline_s
        When a sub-agent's family is given up; a program that is none gets its own.

    Raises
    ------
    ConfigError
        If no engine can hold the program.
    """

    def __init__(self, world: World, program: Program, parent: str | None = None, deadline_s: float = math.inf) -> None:
        check_fits(program, *world.cluster.configs)
        self._world = world
        self._program = program
        self._parent = parent
        self._deadline_s = deadline_s
        self._stay = world.cluster.open(program)
        name = program.program_id
        self._gaps_s = [turn.tool_s for turn in program.turns]
        if world.outcomes is not None:
            self._gaps_s = [world.outcomes.gap_s(name, index, turn) for index, turn in enumerate(program.turns)]
        self._known = foresee(program, self._gaps_s) if world.oracle else None
        self._children: SubAgents | None = None
        if program.children:
            self._children = SubAgents(world.env, program.children, self._start_child)
        # Sub-agents and tool workers may act at the instant a turn ends; whatever awaits the program, when it ends.
        self._watched = self._children is not None or world.tools is not None
        self._awaited = world.closed or parent is not None
        self._last = len(program.turns) - 1
        self._known_tokens = 0
        """Leading tokens whose KV the latest turn had computed."""
        self._aborts = 0
        """Requests whose client left before their end."""
        self._turns = 0
        """Turns that were answered."""
        self._cut_short = False
        """Whether some answer was cut short."""
        self._queue_s = self._prefill_s = self._decode_s = self._tool_s = self._tool_wait_s = 0.0
        self._join_s = self._reload_s = self._preempted_s = self._retry_s = 0.0

    def run(self, now_s: float) -> Generator[simpy.Event, Any, float]:
        """Serve the program from its arrival on; return the time in s from which another may follow on it."""
        world, clients, children = self._world, self._world.clients, self._children
        arrival_s, way_s = now_s, world.way_s
        if clients is not None and self._parent is None:
            self._deadline_s = clients.deadline_s(now_s)
        vanishes = given_up = False
        taken_tokens: int | None = None
        world.open += 1
        for index, turn in enumerate(self._program.turns):
            if clients is None:
                sent_s = now_s
                if way_s:
                    yield world.env.after(sent_s, way_s)
                    now_s += way_s
                replica, request = self._submit(index, turn, self._stay.place(index, turn, now_s), now_s)
                assert request.ended is not None
                finish_s: float = yield request.ended
                self._record(index, request, replica, sent_s)
                now_s, output_tokens = finish_s, turn.output_tokens
                if way_s:
                    yield world.env.after(finish_s, way_s)
                    now_s += way_s
            else:
                if taken_tokens is not None and turn.kept_tokens > taken_tokens:  # the last answer was cut short
                    turn = replace(turn, kept_tokens=taken_tokens)
                name = self._program.program_id
                answer = yield from clients.send(
                    name, index, turn, now_s, self._deadline_s, partial(self._try, index, turn)
                )
                if not isinstance(answer, Answer):
                    self._retry_s += answer - now_s
                    now_s, given_up = answer, True
                    break
                self._record(index, answer.request, answer.replica, now_s, answer)
                now_s, output_tokens = answer.end_s, answer.output_tokens
                taken_tokens, vanishes = turn.input_tokens + output_tokens, answer.request.aborted
                if answer.request.aborted:
                    self._aborts += 1
                    self._cut_short = True
            self._known_tokens = turn.input_tokens + output_tokens - 1
            if children is not None:
                children.start(index, now_s)
            if index < self._last:
                left_s = now_s
                if world.tools is None and now_s + turn.tool_s <= self._deadline_s:
                    self._tool_s += turn.tool_s
                    now_s += turn.tool_s
                    yield world.env.after(left_s, turn.tool_s)
                else:
                    now_s = yield from self._tools(index, turn, now_s)
                if children is not None:
                    now_s = yield from self._join(children, index + 1, now_s)
                if now_s >= self._deadline_s:
                    given_up = True
                    break
        self._stay.close(silently=given_up or vanishes)
        if children is not None and not given_up:
            now_s = yield from self._join(children, None, now_s)
        world.open -= 1
        if clients is not None:
            clients.totals.given_up += given_up and self._parent is None
        self._end(arrival_s, now_s, given_up)
        # The engine may have heard of it a step later; whatever follows on it must not be sent before.
        return max(now_s, world.env.now) if given_up else now_s

    # Turns ----------------------------------------------------------------------------------------------

    def _try(
        self, index: int, turn: Turn, now_s: float, wanted_tokens: int, held: Request | None
    ) -> tuple[Replica, Request] | None:
        """Send a turn for a client that may leave; None if the server refuses it."""
        if held is not None:  # the engine knows the whole prompt from the last try
            self._aborts += 1
            self._known_tokens = max(self._known_tokens, held.num_computed_tokens)
            self._stay.comes_again()
            turn = replace(turn, kept_tokens=turn.input_tokens)
        replica = self._stay.place(index, turn, now_s)
        if not replica.accepts():
            self._stay.refused()
            return None
        return self._submit(index, turn, replica, now_s, wanted_tokens)

    def _submit(
        self, index: int, turn: Turn, replica: Replica, now_s: float, wanted_tokens: int = 0
    ) -> tuple[Replica, Request]:
        world = self._world
        context, kept_tokens = self._stay.enter(replica, index, turn, now_s)
        last = index == self._last
        request = Request(
            context,
            prompt_tokens=turn.input_tokens,
            kept_tokens=kept_tokens,
            max_tokens=turn.output_tokens,
            known_tokens=min(turn.kept_tokens, self._known_tokens),
            arrival_s=now_s,
            tool=turn.tool,
            last=last,
            foresight=self._known[index] if self._known else None,
            ended=world.env.event(),
            followed_at_once=self._watched or (self._awaited if last else turn.tool_s < SAME_INSTANT_S),
            parent=self._parent,
            priority=self._program.priority,
            # One that reaches the longest context ends there, as the engine knows beforehand.
            stops=turn.finish == STOP
            and turn.input_tokens + turn.output_tokens < replica.scheduler.config.max_model_len,
            aborts=self._aborts,
            wanted_tokens=wanted_tokens,
            drafted=self._drafts(index, turn, replica),
        )
        self._stay.sent(request)
        replica.submit(self._program.program_id, request, now_s)
        return replica, request

    def _drafts(self, index: int, turn: Turn, replica: Replica) -> DraftedTurn | None:
        speculation = replica.scheduler.config.speculation
        if speculation is None:
            return None
        length = turn.mean_acceptance_length
        return self._world.drafts.of_turn(self._program.program_id, index, self._aborts, speculation, length)

    def _record(
        self, index: int, request: Request, replica: Replica, sent_s: float, answer: Answer | None = None
    ) -> None:
        """Record a turn that its client first sent at `sent_s`."""
        self._turns += 1
        retry_s = 0.0 if answer is None else answer.retry_s
        self._retry_s += retry_s
        self._queue_s += request.scheduled_s - sent_s - retry_s - request.reload_s
        self._reload_s += request.reload_s
        way_s = self._world.way_s
        to_first_s = request.first_token_s - request.scheduled_s + way_s
        to_last_s = request.finish_s - request.first_token_s
        if request.num_preemptions:
            lost_s, lost_first_s = request.preempted_s, request.preempted_first_s
            self._preempted_s += lost_s
            # Rounding of sums must not take these below 0.
            to_first_s = max(0.0, to_first_s - lost_first_s)
            to_last_s = max(0.0, to_last_s - (lost_s - lost_first_s))
        self._prefill_s += to_first_s
        self._decode_s += to_last_s
        # A step planned in vain computes the KV of the last token, which is no part of the turn's work.
        wasted = max(0, request.num_computed_tokens - (request.num_tokens - 1))
        self._world.recorder.turn(
            TurnRecord(
                self._program.program_id,
                index,
                sent_s,
                request.scheduled_s,
                request.first_token_s + way_s,
                request.finish_s + way_s,
                request.prompt_tokens,
                request.max_tokens if answer is None else answer.output_tokens,
                request.cached_tokens,
                request.work_tokens - wasted,
                request.recomputed_tokens,
                request.num_preemptions,
                request.tool,
                self._gaps_s[index],
                replica.number,
                request.reloaded_tokens,
                request.reload_s,
                request.preempted_s,
                1 if answer is None else answer.requests,
                retry_s,
                request.aborted,
            )
        )

    # Between turns --------------------------------------------------------------------------------------

    def _tools(self, index: int, turn: Turn, now_s: float) -> Generator[simpy.Event, Any, float]:
        """Wait for the tools called after a turn; return when they return, or a lone one is no longer waited for."""
        world = self._world
        if world.tools is None:
            self._tool_s += self._deadline_s - now_s
            yield world.env.instant(self._deadline_s)
            return self._deadline_s
        assert world.outcomes is not None
        name = self._program.program_id
        gap = yield from world.tools.run(world.outcomes.of_turn(name, index, turn), now_s)
        self._tool_s += gap.tool_s
        self._tool_wait_s += gap.wait_s
        return gap.end_s

    def _join(self, children: SubAgents, turn: int | None, now_s: float) -> Generator[simpy.Event, Any, float]:
        """Wait for the sub-agents that a turn, or the end, needs."""
        joined_s = yield from children.join(turn, now_s)
        self._join_s += joined_s - now_s
        return joined_s

    def _start_child(self, child: Program, start_s: float) -> Generator[simpy.Event, Any, float]:
        return Course(self._world, child, self._program.program_id, self._deadline_s).run(start_s)

    def _end(self, arrival_s: float, now_s: float, given_up: bool) -> None:
        world, program = self._world, self._program
        alone_s = None
        if self._parent is None and world.alone_s is not None and not given_up and not self._cut_short:
            alone_s = world.alone_s(program)
        world.recorder.program(
            ProgramRecord(
                program.program_id,
                self._turns,
                arrival_s,
                now_s,
                now_s - arrival_s,
                self._queue_s,
                self._prefill_s,
                self._decode_s,
                self._tool_s,
                self._tool_wait_s,
                self._join_s,
                self._parent,
                self._reload_s,
                self._preempted_s,
                alone_s,
                self._retry_s,
                given_up,
            )
        )
