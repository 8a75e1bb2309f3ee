"""Build the summary of a finished run from its totals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.tiers import TierTotals
from continuum_sim.policies.host.counts import PolicyCounts
from continuum_sim.results.summary import (
    Clients,
    Cost,
    Drafts,
    Interactivity,
    Kv,
    Pins,
    PolicyActivity,
    ReplicaSummary,
    RunRecovery,
    RunVerdict,
    Summary,
    Throughput,
    TierUse,
    ToolCalls,
    UnfitPrograms,
)
from continuum_sim.results.tally import ReplicaTally, Tally
from continuum_sim.setup.slo import NO_SLO, Slo
from continuum_sim.steady.served import Served
from continuum_sim.traces.unfit import Fitting
from continuum_sim.world.clients import ClientTotals
from continuum_sim.world.cluster import Cluster
from continuum_sim.world.tools import ToolTotals
from continuum_sim.world.totals import EngineTotals, totals_of

_Part = TypeVar("_Part", bound=msgspec.Struct)


def summarise(
    tally: Tally,
    totals: EngineTotals,
    engines: Sequence[EngineConfig],
    tools: ToolTotals | None = None,
    clients: ClientTotals | None = None,
    *,
    policy: str,
    trace: str,
    arrivals: str,
    seed: int,
    wall_s: float,
    notes: Iterable[str],
    verdict: RunVerdict,
    recovery: RunRecovery | None,
    cost: Cost,
    served_per_s: Served | None = None,
    drawn: bool = False,
    unfit: Fitting | None = None,
    slo: Slo = NO_SLO,
    router: str | None = None,
    replicas: list[ReplicaSummary] | None = None,
) -> Summary:
    """Summarise a run; `tally` must have seen at least one program."""
    measured = tally.select() or UNSET
    tpot_s = tally.tpot_s
    return Summary(
        policy=policy,
        trace=trace,
        arrivals=arrivals,
        seed=seed,
        population="drawn" if drawn else UNSET,
        verdict=verdict,
        recovery=recovery or UNSET,
        served_per_s=served_per_s or UNSET,
        programs=tally.programs,
        unfit=UNSET if unfit is None else UnfitPrograms(**unfit.plain()),
        measured=measured,
        children=tally.children or UNSET,
        turns=tally.turns,
        steps=totals.steps,
        sim_s=totals.end_s,
        busy_s=totals.busy_s,
        wall_s=wall_s,
        jct_s=tally.jct_s,
        queue_wait_s=tally.queue_wait_s,
        ttft_s=tally.ttft_s,
        tpot_s=tpot_s,
        itl_s=tally.itl_s,
        e2el_s=tally.e2el_s,
        interactivity_tokens_per_s=UNSET if isinstance(tpot_s, UnsetType) else Interactivity.of(tpot_s),
        slowdown=tally.slowdown,
        fairness=tally.fairness,
        slo=tally.kept(slo, totals.end_s),
        time_s=tally.time_s,
        time_share=tally.time_share,
        tools=UNSET if tools is None else ToolCalls(**asdict(tools)),
        clients=UNSET if clients is None else Clients(**asdict(clients)),
        drafts=_drafts(totals, engines),
        prefill=tally.prefill,
        preemptions=tally.preemptions,
        pins=_counted(Pins, totals.counts, "pins_"),
        kv=Kv(
            blocks=sum(engine.num_gpu_blocks for engine in engines),
            block_size=engines[0].block_size,
            peak_used_share=totals.peak_used_blocks / totals.usable_blocks,
            pinned_block_seconds=totals.counts.pinned_block_seconds,
        ),
        throughput=Throughput(
            tally.programs / totals.end_s,
            tally.output_tokens / totals.end_s,
            tally.output_tokens / totals.end_s / cost.gpus,
        ),
        cost=cost,
        policy_activity=_counted(PolicyActivity, totals.counts),
        router=router or UNSET,
        moved_turns=sum(part.moved_in for part in replicas) if replicas else UNSET,
        replicas=replicas or UNSET,
        tiers=[_use(tier, totals.end_s) for tier in totals.tiers],
        notes=list(notes),
    )


def _drafts(totals: EngineTotals, engines: Sequence[EngineConfig]) -> Drafts | UnsetType:
    if all(engine.speculation is None for engine in engines):
        return UNSET
    steps = totals.verifications
    length = 1 + totals.accepted_tokens / steps if steps else 1.0
    return Drafts(steps, totals.drafted_tokens, totals.accepted_tokens, length)


def summarise_replicas(
    cluster: Cluster, tally: ReplicaTally | None, gpus: Sequence[str]
) -> list[ReplicaSummary] | None:
    """Summarise each replica; None if there is only one, which the run's own numbers describe."""
    if tally is None:
        return None
    parts = []
    end_s = max(replica.now_s for replica in cluster.replicas)
    for number, replica in enumerate(cluster.replicas):
        totals = totals_of(replica)
        parts.append(
            ReplicaSummary(
                replica=number,
                rank=number % cluster.ranks if cluster.ranks > 1 else UNSET,
                gpu=gpus[number],
                turns=int(tally.turns[number]),
                moved_in=cluster.moved_in[number],
                busy_s=totals.busy_s,
                prompt_tokens=int(tally.prompt_tokens[number]),
                cached_tokens=int(tally.cached_tokens[number]),
                recomputed_tokens=int(tally.recomputed_tokens[number]),
                preemptions=totals.preemptions,
                blocks=cluster.configs[number].num_gpu_blocks,
                peak_used_share=totals.peak_used_blocks / totals.usable_blocks,
                pins=_counted(Pins, totals.counts, "pins_"),
                pins_moved=totals.counts.pins_moved,
                reloaded_tokens=int(tally.reloaded_tokens[number]),
                tiers=[_use(tier, end_s) for tier in totals.tiers],
            )
        )
    return parts


def _use(tier: TierTotals, end_s: float) -> TierUse:
    """Summarise one tier, or the same tier of all replicas together, for a run that ended at `end_s`."""
    return TierUse(
        name=tier.name,
        blocks=tier.blocks,
        peak_used_share=tier.peak_used_blocks / tier.blocks,
        written_bytes=tier.written_blocks * tier.block_bytes,
        read_bytes=tier.read_blocks * tier.block_bytes,
        link_busy_share=tier.link_busy_s / (end_s * tier.links),
    )


def _counted(kind: type[_Part], counts: PolicyCounts, prefix: str = "") -> _Part:
    """Fill a part of the summary from the counts of the same names."""
    return kind(**{name: getattr(counts, f"{prefix}{name}") for name in kind.__struct_fields__})
