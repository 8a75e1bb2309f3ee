"""Put an engine into the situation of a point, and read how long its steps took."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from continuum_sim.steptime.batch import StepBatch
from continuum_sim.validate.calibration.points import DECODE_STEPS, Point
from continuum_sim.validate.engines.interface import Engine, TurnAnswer, TurnRequest

_SPECIAL = 8
"""Token ids below this may mean something to a model (padding, end of text); prompts avoid them."""
_WARM_PREFILL_TOKENS = 65_536
"""Most tokens prefilled to touch the KV cache's memory."""


class Measured(NamedTuple):
    """One step: what it computed and how long it took."""

    batch: StepBatch
    seconds: float


class Prompts:
    """Makes requests that share nothing, so that the prefix cache hits only where intended."""

    def __init__(self, vocab_size: int, rng: np.random.Generator) -> None:
        self._vocab_size = vocab_size
        self._rng = rng
        self._numbers = count()

    def tokens(self, number: int) -> list[int]:
        """Return this many random token ids."""
        return fresh_tokens(self._rng, number, self._vocab_size)

    def request(self, token_ids: list[int], output_tokens: int) -> TurnRequest:
        """Return a request without a program."""
        return TurnRequest(f"calibrate-{next(self._numbers)}", token_ids, output_tokens)


def fresh_tokens(rng: np.random.Generator, number: int, vocab_size: int) -> list[int]:
    """Draw token ids that occur elsewhere only by chance."""
    low = min(_SPECIAL, vocab_size // 2)
    drawn: list[int] = rng.integers(low, vocab_size, size=number).tolist()
    return drawn


async def warm_up(engine: Engine, prompts: Prompts) -> None:
    """Touch all KV memory, run batches of many shapes, and leave the cache empty.

    The first use of a KV block is a page fault on a CPU, and kernels are chosen or compiled at first use.
    """
    facts = engine.facts
    capacity = min((facts.num_gpu_blocks - 1) * facts.block_size, _WARM_PREFILL_TOKENS)
    longest = facts.max_model_len - 1
    while capacity > 0:
        await engine.turn(prompts.request(prompts.tokens(min(capacity, longest)), 1))
        capacity -= longest
    for batch in (1, 2, 4, 8, 16):
        if batch <= facts.max_num_seqs:
            sizes = [1 + (97 * (batch + i)) % min(512, longest - 16) for i in range(batch)]
            await asyncio.gather(*(engine.turn(prompts.request(prompts.tokens(n), 16)) for n in sizes))
    await engine.forget()


class Asked(NamedTuple):
    """A point's request and its answer."""

    called_s: float
    answer: TurnAnswer


class PointAnswers(NamedTuple):
    """What the client saw of a point's requests."""

    decoding: list[Asked]
    prefills: list[Asked]


async def run_point(engine: Engine, point: Point, prompts: Prompts) -> PointAnswers:
    """Put the engine into the point's situation."""
    output_tokens = point.decode_tokens(engine.facts.max_num_batched_tokens, engine.facts.drafts)
    decoding = [
        asyncio.create_task(_ask(engine, prompts.request(prompts.tokens(point.context), output_tokens)))
        for _ in range(point.decodes)
    ]
    prefills = []
    if point.new:
        cached = prompts.tokens(point.cached)
        if cached:
            await engine.turn(prompts.request(cached, 1))
        prefills.append(await _ask(engine, prompts.request(cached + prompts.tokens(point.new), 1)))
    return PointAnswers(list(await asyncio.gather(*decoding)), prefills)


async def _ask(engine: Engine, request: TurnRequest) -> Asked:
    called_s = asyncio.get_running_loop().time()
    return Asked(called_s, await engine.turn(request))


def wanted(point: Point, steps: Sequence[Measured], drafts: int = 0) -> list[Measured]:
    """Keep the steps a point is about; the steps leading up to them differ between runs.

    A decode point keeps its last steps in which all turns decode, which are warm; other points keep every step with a
    prefill. With drafts turns end apart, and of those left each has some rows: as many as turns are enough.
    """
    if point.new:
        return [step for step in steps if step.batch.prefill_tokens]
    most = point.decodes * (1 + drafts)
    whole = [s for s in steps if point.decodes <= s.batch.decode_requests <= most and not s.batch.prefill_tokens]
    return whole[-DECODE_STEPS:]
