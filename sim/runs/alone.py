"""The JCT of a program that has the engine to itself: the baseline of its slowdown."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.runs.alone_drafted import has_room_for_drafts, lone_drafted_jct_s
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.arrivals import Burst
from continuum_sim.traces.schema import STOP, Child, Program, SharedPrefix, Turn
from continuum_sim.world.clients import ClientConfig, ClientDraws
from continuum_sim.world.drafts import DraftDraws
from continuum_sim.world.fits import fits
from continuum_sim.world.records import ProgramRecord
from continuum_sim.world.simulation import Simulation

_MOST_KEPT: Final = 10_000
"""Programs whose JCT is cached per engine; programs that differ only in their name share an entry."""

Family: TypeAlias = tuple[tuple[Turn, ...], SharedPrefix | None, tuple[Any, ...]]
"""Turns, prefix and, for every sub-agent, the turn it starts after, the turn that waits for it and its own family."""


def alone_on(run: ResolvedRun) -> Callable[[Program], float | None]:
    """Return a function from a program to its JCT in seconds alone on the run's engine: an empty engine under stock
    vLLM's rules, with tools that take the time in the trace and wait for no worker.

    Sub-agents run beside their program as usual. In a cluster the function takes the replica on which the program
    finishes first, and returns None if no replica can hold its whole family.
    """
    kinds = dict.fromkeys((replica.engine, _Same(replica.step_time)) for replica in run.replicas)
    delay_s = run.config.client_delay
    engines = [(engine, _alone_on_engine(engine, step_time, delay_s)) for engine, step_time in kinds]
    drafting = [(engine, same.step_time) for engine, same in kinds if engine.speculation is not None]
    draws = DraftDraws(run.config.seed)

    def alone_s(program: Program) -> float | None:
        if drafting and not program.children and all(has_room_for_drafts(program, engine) for engine, _ in drafting):
            away_s = delay_s * len(program.turns)
            jcts_s = [lone_drafted_jct_s(program, engine, step_time, draws) for engine, step_time in drafting]
            return min(jcts_s) + away_s
        family = _family(program)
        if len(engines) == 1:
            return engines[0][1](family)
        most_tokens = max(member.max_context_tokens for member in program.family())
        return min((jct_s(family) for engine, jct_s in engines if fits(most_tokens, engine)), default=None)

    return alone_s


class _Same:
    """A step-time model as a cache key: models of ours that describe themselves identically are equal."""

    def __init__(self, step_time: StepTime) -> None:
        self.step_time = step_time
        ours = type(step_time).__module__.startswith("continuum_sim.")
        self._key = (type(step_time), repr(step_time.describe())) if ours else (type(step_time), id(step_time))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=16)
def _alone_on_engine(engine: EngineConfig, same: _Same, delay_s: float) -> Callable[[Family], float]:
    """Return a cached function from a family to its JCT in seconds alone on an engine."""

    @lru_cache(maxsize=_MOST_KEPT)
    def jct_s(family: Family) -> float:
        turns, _, children = family
        if not children and not (engine.kv_cache_groups or engine.speculation or engine.pipelined):
            return lone_jct_s(turns, engine, same.step_time, delay_s)
        return _simulated_jct_s(_program(family, itertools.count()), engine, same.step_time, delay_s)

    return jct_s


def lone_jct_s(
    turns: tuple[Turn, ...], engine: EngineConfig, step_time: StepTime, client_delay_s: float = 0.0
) -> float:
    """Return the JCT in seconds of a lone program without sub-agents, equal to the simulator's to the last bit.

    No events are needed: a lone turn is prefilled in chunks of the token budget, then decodes, and nothing is evicted.
    Steps are summed up as the simulator's jumps do, so that both round alike. With asynchronous scheduling a turn that
    the model ends is followed by a step planned in vain, and the next turn waits for that.
    """
    now_s, free_s, computed_tokens = 0.0, 0.0, 0
    way_s = client_delay_s / 2
    size, budget = engine.block_size, engine.max_num_batched_tokens
    for number, turn in enumerate(turns):
        # Hits are full blocks of kept tokens already computed; the last token of a prompt is always computed.
        tokens = turn.input_tokens
        kept_tokens = turn.kept_tokens if number and engine.enable_prefix_caching else 0
        start = min(kept_tokens, computed_tokens, tokens - 1) // size * size
        now_s = max(now_s + way_s, free_s)
        vain = engine.async_scheduling and _is_followed_in_vain(turn, engine)
        for run in _jumps(-(-(tokens - start) // budget), turn.output_tokens - 1, engine.async_scheduling, vain):
            jump_s = 0.0
            for steps, prefills in run:
                chunk = min(tokens - start, budget) if prefills else 1
                batch = prefill_of(chunk, start) if prefills else _decode_of(start + 1)
                jump_s += step_time.run_s(batch, steps)
                start += chunk * steps
            now_s += jump_s
        computed_tokens = start
        if vain:
            free_s = now_s + step_time.run_s(_decode_of(turn.context_tokens), 1)
        now_s += way_s
        if number < len(turns) - 1:
            now_s += turn.tool_s
    return now_s


def _jumps(chunks: int, decodes: int, ahead: bool, vain: bool) -> list[list[tuple[int, bool]]]:
    """Return the jumps of a lone turn, each with its equal steps: (number, whether they prefill).

    The steps that admit a turn and that complete its prefill are jumps of their own. If they are planned ahead, the
    latter begins the jump that decodes, and an end that is foreseen has one of its own.
    """
    if not ahead:
        prefill = [1] * chunks if chunks < 3 else [1, chunks - 2, 1]
        return [[(steps, True)] for steps in prefill] + [[(decodes, False)]] * (decodes > 0)
    before = [1] * (chunks - 1) if chunks < 3 else [chunks - 2, 1]
    joined = decodes if vain else max(0, decodes - 1)
    last = [(1, True), (joined, False)] if joined else [(1, True)]
    return [*[[(steps, True)] for steps in before], last, *[[(1, False)]] * (decodes - joined)]


def _is_followed_in_vain(turn: Turn, engine: EngineConfig) -> bool:
    """Return whether a step is planned that gives a turn a token after its last."""
    has_room = engine.blocks_of(turn.context_tokens) <= engine.usable_blocks
    return turn.finish == STOP and turn.context_tokens < engine.max_model_len and has_room


def _decode_of(context_tokens: int) -> StepBatch:
    return StepBatch(0, 0, 0, 0, 1, context_tokens)


def _simulated_jct_s(program: Program, engine: EngineConfig, step_time: StepTime, delay_s: float) -> float:
    """Return the JCT in seconds of a family that runs alone in the simulator."""
    from continuum_sim.setup.notation import parse_policy

    kept = _Roots()
    alone = Simulation(
        policy=parse_policy("lru"),
        config=engine,
        step_time=step_time,
        recorder=kept,
        timeline=False,
        clients=ClientDraws(ClientConfig(delay_s=delay_s)),
    )
    alone.run([program], Burst(), np.random.default_rng(0))
    return kept.jct_s


class _Roots:
    """A recorder that keeps the JCT of the one program that is not a sub-agent."""

    jct_s = 0.0

    def turn(self, record: Any) -> None:
        """Ignore the record."""

    def timeline(self, record: Any) -> None:
        """Ignore the record."""

    def program(self, record: ProgramRecord) -> None:
        """Keep the JCT of the root program."""
        if record.parent is None:
            self.jct_s = record.jct_s


def _family(program: Program) -> Family:
    if not program.children:
        return program.turns, None, ()  # a lone program shares its prefix with no other
    return _member(program)


def _member(program: Program) -> Family:
    children = tuple((child.after_turn, child.join_turn, _member(child.program)) for child in program.children)
    return program.turns, program.shared_prefix, children


def _program(family: Family, names: Iterator[int]) -> Program:
    turns, prefix, children = family
    agents = tuple(Child(_program(member, names), after, join) for after, join, member in children)
    return Program(str(next(names)), turns, shared_prefix=prefix, children=agents)
