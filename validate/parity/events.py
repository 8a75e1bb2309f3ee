"""What happened in compared steps: agreement says little about what never occurred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final

from continuum_sim.engine.offload.native import NativeConnector
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler

EVENTS: Final = (
    "preemptions",
    "resumed_turns",
    "prefix_hits",
    "junctions",
    "freed_blocks",
    "copied_states",
    "held_arrivals",
    "wasted_tokens",
    "threshold_cuts",
    "priority_swaps",
    "held_prefills",
    "aborts",
    "refusals",
    "retries",
    "accepted_drafts",
    "rejected_drafts",
    "cut_drafts",
    "padded_turns",
    "offload_hits",
    "offload_stores",
    "host_evictions",
    "remote_waits",
    "passed_over",
    "failed_stores",
    "deferred_frees",
    "staged_steps",
    "late_turns",
)
"""Preempted turns, and those admitted again; admitted turns that found a prefix, and those of which some KV cache group
had more than another; blocks freed behind windows; states of recurrent layers copied to the next block; arrivals
while a step was under way; tokens computed for turns that had ended; prompts cut by a threshold; turns admitted before
one that arrived earlier; prompts that `prefill_schedule_interval` kept from a step; requests that their clients left,
requests refused with 503, and requests sent again; drafts accepted, drafts rejected, those accepted behind a turn's
last token, and turns admitted with rows for drafts that they did not have. Of native offload: turns that load from host
memory, and the stores begun; blocks evicted there; turns that wait in a step for what they load; those passed over
because transfers are under way; running turns whose blocks found no room; turns whose blocks are freed a step later. Of
engines with several stages: their steps, and turns that wait in one for tokens planned before they were preempted."""


def count_events(events: Counter[str], scheduler: Scheduler, plan: Plan, held: Collection[Request]) -> None:
    """Count what a step that was just planned brings.

    Parameters
    ----------
    held
        Every turn in the engine, in order of arrival.
    """
    events["preemptions"] += len(plan.preempted)
    for request in plan.admitted:
        events["resumed_turns"] += request.num_preemptions > 0
        events["prefix_hits"] += request.num_computed_tokens > 0
        events["priority_swaps"] += _overtakes(request, held)
        events["junctions"] += scheduler.kv_cache_manager.junction_tokens(request) > 0
    events["padded_turns"] += len(plan.padded)
    events["freed_blocks"] = scheduler.kv_cache_manager.freed_blocks
    events["copied_states"] = scheduler.kv_cache_manager.copied_states
    if isinstance(scheduler.connector, NativeConnector):
        _count_offloads(events, scheduler, scheduler.connector)
    config = scheduler.config
    events["staged_steps"] += config.pipelined
    if config.pipelined:
        waiting = scheduler.waiting.requests()
        events["late_turns"] += sum([turn.flight is not None and turn.flight.stale for turn in waiting])
    if config.long_prefill_token_threshold:
        most = config.most_prefill_tokens(scheduler.num_running + scheduler.num_waiting)
        if most < config.max_num_batched_tokens:
            events["threshold_cuts"] += sum(tokens == most < request.uncached_tokens for request, tokens in plan.chunks)
    if plan.held:
        seats = config.max_num_active_seqs or config.max_num_seqs
        tried = not plan.spent and not plan.preempted and scheduler.num_running < seats
        events["held_prefills"] += len(scheduler.batch.prefilling) + (tried and scheduler.num_waiting > 0)


def _count_offloads(events: Counter[str], scheduler: Scheduler, connector: NativeConnector) -> None:
    loads = sum(transfer.loads for transfer in connector.new_transfers)
    events["offload_hits"] += loads
    events["offload_stores"] += len(connector.new_transfers) - loads
    events["host_evictions"] = connector.host.evicted_blocks
    events["remote_waits"] += len(scheduler.reloading)
    events["passed_over"] += connector.passed_over
    events["failed_stores"] += connector.failing
    events["deferred_frees"] += len(scheduler.ends.deferred)


def _overtakes(request: Request, held: Collection[Request]) -> bool:
    """Return whether a turn is admitted before one that arrived earlier."""
    for earlier in held:
        if earlier is request:
            break
        if earlier.rank < 0 or earlier.rank > request.rank:
            return True
    return False
