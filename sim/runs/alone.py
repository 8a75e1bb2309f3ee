"""How long a program takes with an engine for itself: what its slowdown is measured by."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.arrivals import Burst
from continuum_sim.traces.schema import Child, Program, SharedPrefix, Turn
from continuum_sim.world.fits import fits
from continuum_sim.world.records import ProgramRecord
from continuum_sim.world.simulation import Simulation

_MOST_KEPT: Final = 10_000
"""Programs of an engine, the same under another name counted once."""

Family: TypeAlias = tuple[tuple[Turn, ...], SharedPrefix | None, tuple[Any, ...]]
"""Turns, prefix, and of every sub-agent the turn it starts after, the one that waits for it and its own family."""


def alone_on(run: ResolvedRun) -> Callable[[Program], float | None]:
    """Return what tells the JCT, in seconds, of a program alone on the engine of a run: an empty one, under stock
    vLLM's rules, with tools that take what the trace says and wait for no worker.

    Sub-agents run beside their program, as they do. In a cluster it is alone on that replica on which it is done
    first; None where no replica holds its whole family.
    """
    kinds = dict.fromkeys((replica.engine, _Same(replica.step_time)) for replica in run.replicas)
    engines = [(engine, _alone_on_engine(engine, step_time)) for engine, step_time in kinds]

    def alone_s(program: Program) -> float | None:
        family = _family(program)
        if len(engines) == 1:
            return engines[0][1](family)
        most_tokens = max(member.max_context_tokens for member in program.family())
        return min((jct_s(family) for engine, jct_s in engines if fits(most_tokens, engine)), default=None)

    return alone_s


class _Same:
    """A model of step times; those that describe themselves alike are one."""

    def __init__(self, step_time: StepTime) -> None:
        self.step_time = step_time
        ours = type(step_time).__module__.startswith("continuum_sim.")
        self._key = (type(step_time), repr(step_time.describe())) if ours else (type(step_time), id(step_time))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=16)
def _alone_on_engine(engine: EngineConfig, same: _Same) -> Callable[[Family], float]:
    """Return what tells the JCT of a family alone on an engine, each worked out once."""

    @lru_cache(maxsize=_MOST_KEPT)
    def jct_s(family: Family) -> float:
        turns, _, children = family
        if not children:
            return lone_jct_s(turns, engine, same.step_time)
        return _simulated_jct_s(_program(family, itertools.count()), engine, same.step_time)

    return jct_s


def lone_jct_s(turns: tuple[Turn, ...], engine: EngineConfig, step_time: StepTime) -> float:
    """Return what the simulator takes for a program without sub-agents that is alone: to the last bit, and without
    its events, as a lone turn is computed in chunks of the token budget, then decodes, and nothing is evicted.
    """
    now_s, computed_tokens = 0.0, 0
    size, budget = engine.block_size, engine.max_num_batched_tokens
    for number, turn in enumerate(turns):
        # Full blocks of what the program kept and had computed; the last token of a prompt is always computed.
        tokens = turn.input_tokens
        start = min(turn.kept_tokens if number else 0, computed_tokens, tokens - 1) // size * size
        steps = 1  # the step that lets it in is one by itself, as is the one that ends the prompt
        while start < tokens:
            chunk = min(tokens - start, budget)
            now_s += step_time.run_s(prefill_of(chunk, start), steps)
            start += chunk * steps
            steps = max(1, (tokens - start - 1) // budget)
        if turn.output_tokens > 1:
            now_s += step_time.run_s(StepBatch(0, 0, 0, 0, 1, tokens + 1), turn.output_tokens - 1)
        computed_tokens = tokens + turn.output_tokens - 1
        if number < len(turns) - 1:
            now_s += turn.tool_s
    return now_s


def _simulated_jct_s(program: Program, engine: EngineConfig, step_time: StepTime) -> float:
    """Run a family through the simulator, by itself."""
    from continuum_sim.setup.notation import parse_policy

    kept = _Roots()
    alone = Simulation(policy=parse_policy("lru"), config=engine, step_time=step_time, recorder=kept, timeline=False)
    alone.run([program], Burst(), np.random.default_rng(0))
    return kept.jct_s


class _Roots:
    """A recorder that keeps the JCT of the one program that is no sub-agent."""

    jct_s = 0.0

    def turn(self, record: Any) -> None:
        """Keep nothing."""

    def timeline(self, record: Any) -> None:
        """Keep nothing."""

    def program(self, record: ProgramRecord) -> None:
        """Keep the JCT."""
        if record.parent is None:
            self.jct_s = record.jct_s


def _family(program: Program) -> Family:
    if not program.children:
        return program.turns, None, ()  # alone, it shares its prefix with nobody
    return _member(program)


def _member(program: Program) -> Family:
    children = tuple((child.after_turn, child.join_turn, _member(child.program)) for child in program.children)
    return program.turns, program.shared_prefix, children


def _program(family: Family, names: Iterator[int]) -> Program:
    turns, prefix, children = family
    agents = tuple(Child(_program(member, names), after, join) for after, join, member in children)
    return Program(str(next(names)), turns, shared_prefix=prefix, children=agents)
