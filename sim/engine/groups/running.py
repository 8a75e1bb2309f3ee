"""The running turns of a step with several KV cache groups, as far as nothing has to be preempted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request

if TYPE_CHECKING:
    from continuum_sim.engine.scheduler import Scheduler


def schedule_running(scheduler: Scheduler, plan: Plan, most_prompt_tokens: int) -> int | None:
    """Give every running turn its tokens, and take and free its blocks; return the remaining token budget.

    None means that vLLM's own loop has to decide, turn by turn: blocks are missing, or tokens for all prompts. It finds
    what it would have done itself up to that turn.
    """
    manager, decoding = scheduler.kv_cache_manager, scheduler.decoding
    assert decoding.due is not None
    budget = scheduler.config.max_num_batched_tokens - decoding.count
    chunks = []
    for request in () if plan.held else scheduler.batch.prefilling.values():
        chunk = min(request.num_tokens - request.num_computed_tokens, most_prompt_tokens)
        if chunk > budget and scheduler.config.long_prefill_token_threshold:
            return None
        chunks.append((request, min(chunk, budget)))
        budget -= chunks[-1][1]
    due = [(request, 1) for request in decoding.due.now(decoding.counter)] + [one for one in chunks if one[1]]
    if chunks:
        due.sort(key=_rank)
    ahead = scheduler.plans[-1] if scheduler.plans else None
    for request, tokens in due:
        start = scheduler.batch.computed(request)
        in_flight = 0 if ahead is None else ahead.tokens_in_flight(request)
        blocks = manager.growth(request, start, tokens, in_flight)
        if blocks > scheduler.pool.free:
            return None
        manager.extend(request, start + tokens, blocks, in_flight)
    for request, tokens in chunks:
        scheduler.take_chunk(plan, request, tokens)
    return budget


def _rank(entry: tuple[Request, int]) -> int:
    return entry[0].rank
