"""The grid that a calibration measures: prefill lengths by cached context, decode batches by context, and both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from continuum_sim.validate.engines.interface import EngineFacts

DECODE_STEPS = 20
"""Steps with the whole decode batch per visit to a point. On a CPU the first ones after a prefill take longer
than later ones (caches warm up); agents' turns are short, and have both."""
VISITS = 3
"""Times every point is measured, far apart: a shared machine can run at little more than half its speed for seconds,
and what is measured in one go falls entirely into such a spell, or entirely outside it."""
_SEED = 0
"""Seed of the order of the points, the same at every attempt."""
_ROOM = 0.9
"""Share of the KV cache that a point may fill: a preemption would spoil it."""


@dataclass(frozen=True)
class Point:
    """One situation: `decodes` turns decode at `context` tokens; a prompt of `new` tokens prefills on `cached` ones."""

    decodes: int = 0
    context: int = 0
    new: int = 0
    cached: int = 0
    visit: int = 0

    def __str__(self) -> str:
        parts = []
        if self.decodes:
            parts.append(f"{self.decodes} decoding at {self.context} tokens")
        if self.new:
            parts.append(f"{self.new} new tokens on {self.cached} cached")
        return " beside ".join(parts)

    def decode_tokens(self, chunk: int, drafts: int = 0) -> int:
        """Tokens each decoding turn generates: enough to last until all decode and the prefill is complete.

        Even if every step accepts all of so many drafts.
        """
        rounds = -(-self.decodes * self.context // chunk)
        chunks = -(-(self.new + self.cached) // max(1, chunk - self.decodes)) if self.new else 0
        return (rounds + DECODE_STEPS + 4 * chunks) * (1 + drafts)

    def kv_tokens(self, chunk: int, drafts: int = 0) -> int:
        """Most tokens in the KV cache at once."""
        decoding = self.decodes * (self.context + self.decode_tokens(chunk, drafts)) if self.decodes else 0
        return decoding + self.new + self.cached

    def longest_tokens(self, chunk: int, drafts: int = 0) -> int:
        """Longest prompt plus output."""
        decoding = self.context + self.decode_tokens(chunk, drafts) if self.decodes else 0
        return max(decoding, self.new + self.cached + 1)

    def computed_tokens(self, chunk: int) -> tuple[int, int]:
        """Return (prefilled tokens, decode steps), for an estimate of the point's duration."""
        prefilled = self.decodes * self.context + self.new + self.cached
        return prefilled, self.decode_tokens(chunk) if self.decodes else 0


def plan_points(facts: EngineFacts) -> list[Point]:
    """Return the grid that fits this engine: every point once per visit, in random order."""
    chunk, longest = facts.max_num_batched_tokens, facts.max_model_len
    drafts = facts.drafts
    room = int(_ROOM * (facts.num_gpu_blocks - 1) * facts.block_size)
    fitting = [
        point
        for point in dict.fromkeys(_grid(facts))
        if point.kv_tokens(chunk, drafts) <= room
        and point.longest_tokens(chunk, drafts) <= longest
        and point.decodes + bool(point.new) <= facts.max_num_seqs
    ]
    # A machine that changes its speed meanwhile must not look like a cost of contexts or batches.
    rng = np.random.default_rng(_SEED)
    orders = [rng.permutation(len(fitting)) for _ in range(VISITS)]
    return [replace(fitting[at], visit=visit) for visit, order in enumerate(orders) for at in order]


def _grid(facts: EngineFacts) -> Iterator[Point]:
    chunk, longest = facts.max_num_batched_tokens, facts.max_model_len
    contexts = [_aligned(longest * share // 16, facts.block_size) for share in (0, 1, 2, 4, 8, 12, 15)]
    lengths = [n for n in (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384) if n < chunk] + [chunk]
    for cached in contexts:
        for new in lengths:
            yield Point(new=min(new, longest - cached - 2), cached=cached)
    batches = [n for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256) if n <= facts.max_num_seqs]
    for decodes in batches:
        for context in contexts:
            yield Point(decodes=decodes, context=max(context, 32))
    for decodes in batches[1::2]:
        for context in contexts[1:4]:
            for new in lengths[2::3]:
                yield Point(decodes=decodes, context=context, new=new)
                yield Point(decodes=decodes, context=context, new=new, cached=contexts[3])


def _aligned(tokens: int, block_size: int) -> int:
    """Round to whole blocks, because only those are found in the cache."""
    return tokens // block_size * block_size
