"""The rows of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import asdict

from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.splits import gpus_text, split_of
from continuum_sim.results.numbers import count, percent, seconds, times
from continuum_sim.results.summary import (
    RARE_PARTS,
    Clients,
    Cost,
    Drafts,
    Fairness,
    Interactivity,
    KeptObjective,
    KeptSlo,
    Measured,
    Quantiles,
    ReplicaSummary,
    RunRecovery,
    RunVerdict,
    Summary,
    Throughput,
    TierUse,
    TimeSplit,
    ToolCalls,
)
from continuum_sim.results.view.parts import (
    Bar,
    Block,
    Fact,
    Facts,
    Marked,
    Note,
    Part,
    Table,
    View,
    label,
    name,
    numbers,
)
from continuum_sim.results.view.recovery import recovery_line
from continuum_sim.results.view.verdict import verdict_line

_IN_ORDER: Final = tuple(
    dict.fromkeys(("queue", "reload", "prefill", "decode", "preempted", *TimeSplit.__struct_fields__))
)
"""Parts of the JCT in the order shown: reloads before the prefill, preemptions after the decode."""
_SEEN_SHARE: Final = 1e-3
"""Share of the JCT that a rare part must exceed to be named."""


def run_view(summary: Summary, manifest: Mapping[str, Any] | None = None) -> View:
    """Return the view of a run; with `manifest`, it names the engine."""
    blocks: list[Block] = [_quantiles(summary), Facts(list(_facts(summary)))]
    if isinstance(summary.slo, KeptSlo):
        blocks.insert(1, _objectives(summary.slo))
    if isinstance(summary.verdict, RunVerdict):
        first = [Fact("load", verdict_line(summary.verdict, summary.programs))]
        if isinstance(summary.recovery, RunRecovery):
            first.append(Fact("burst", recovery_line(summary.recovery)))
        blocks.insert(0, Facts(first))
    if summary.replicas:
        blocks.append(_replicas(summary, summary.replicas))
    return View(
        title=f"{summary.policy} on {summary.trace}",
        blocks=blocks,
        notes=[Note(note) for note in summary.notes],
        setting=[load_of(summary, f"seed {summary.seed}"), *([engine_line(summary, manifest)] if manifest else [])],
    )


def load_line(trace: str, programs: int, children: int, turns: int, arrivals: str, seeds: str) -> str:
    """Return the load of the engine as text."""
    agents = f"{children:,} sub-agents, " if children else ""
    return f"{trace}: {programs:,} programs, {agents}{turns:,} turns; arrivals {arrivals}, {seeds}"


def load_of(summary: Summary, seeds: str) -> str:
    """Return the load of a run as text."""
    s = summary
    return load_line(s.trace, s.programs, s.children or 0, s.turns, s.arrivals, seeds)


def engine_line(summary: Summary, manifest: Mapping[str, Any]) -> str:
    """Return the model and GPUs of a run as text."""
    model, gpu = manifest.get("model", {}).get("name", "?"), manifest.get("gpu", {}).get("name", "?")
    kinds = [part.gpu for part in summary.replicas or ()] or [gpu]
    return f"{model} on {gpus_line(kinds, split_of(manifest))}"


def gpus_line(kinds: Sequence[str], parallel: Parallel) -> str:
    """Return the GPUs of replicas as text, given the kind of each replica and its split."""
    if len(kinds) == 1:
        return gpus_text(parallel, kinds[0])
    return ", ".join(
        f"{n} replica{'s' if n > 1 else ''} of {gpus_text(parallel, kind)}" for kind, n in Counter(kinds).items()
    )


def shown_parts(*times_s: Mapping[str, float]) -> list[str]:
    """Return the parts of the JCT to name, in order; rare parts only if they are large enough to be seen."""
    return [
        part
        for part in _IN_ORDER
        if part not in RARE_PARTS or any(one[part] > _SEEN_SHARE * sum(one.values()) for one in times_s)
    ]


def time_parts(time_s: Mapping[str, float]) -> list[Part]:
    """Return a mean JCT as the parts of a bar."""
    total_s = sum(time_s.values())
    parts = []
    for part in shown_parts(time_s):
        share = _over(time_s[part], total_s)
        parts.append(Part(called(part), share, f"{seconds(time_s[part])} s ({percent(share)})"))
    return parts


def called(field: str) -> str:
    """Return the displayed name of a field of the summary: a counter, a part of the JCT, the end of a pin."""
    return field.replace("_", " ")


def _quantiles(summary: Summary) -> Table:
    names = Quantiles.__struct_fields__
    samples = {
        "JCT (a program)": summary.jct_s,
        "queue wait (a turn)": summary.queue_wait_s,
        "TTFT (a turn)": summary.ttft_s,
        "TPOT (a turn)": summary.tpot_s,
        "ITL (a token)": summary.itl_s,
        "slowdown (a program)": summary.slowdown,
    }
    rows = []
    for row, sample in samples.items():
        if isinstance(sample, Quantiles):
            shown = times if sample is summary.slowdown else seconds
            rows.append([row, *(shown(getattr(sample, name)) for name in names)])
    part = summary.measured
    note = ""
    if isinstance(part, Measured):
        note = (
            f"of {part.programs:,} programs and {part.turns:,} turns: those that arrived from {seconds(part.from_s)} "
            f"to {seconds(part.to_s)} s"
        )
    return Table([name("seconds"), *numbers(*names)], rows, note=note)


def _facts(s: Summary) -> Iterator[Fact | Bar]:
    yield Bar("where the time went", time_parts(asdict(s.time_s)))
    if isinstance(s.tools, ToolCalls):
        yield Fact("tool calls", _tools(s.tools))
    if isinstance(s.clients, Clients):
        yield Fact("clients", _clients(s.clients))
    if isinstance(s.drafts, Drafts):
        accepted = s.drafts.accepted_tokens / s.drafts.drafted_tokens if s.drafts.drafted_tokens else 0.0
        yield Fact(
            "drafts",
            f"{count(s.drafts.drafted_tokens)} tokens drafted, {percent(accepted)} of them accepted: "
            f"{s.drafts.acceptance_length:.2f} tokens a step",
        )
    yield Fact(
        "prefill",
        f"{count(s.prefill.computed_tokens)} tokens computed, {count(s.prefill.recomputed_tokens)} of them again; "
        f"{count(s.prefill.cached_tokens)} from cache ({percent(s.prefill.cached_share)})"
        + (f"; {count(s.prefill.reloaded_tokens)} reloaded" if s.tiers else ""),
    )
    yield Fact(
        "KV cache",
        f"{percent(s.kv.peak_used_share)} of {s.kv.blocks:,} blocks in use at the peak; "
        f"{count(s.preemptions)} preemptions",
    )
    for tier in s.tiers:
        yield Fact(tier.name.upper(), _tier(tier))
    yield Fact("pins", _pins(s))
    did = [f"{count(n)} {called(what)}" for what, n in asdict(s.policy_activity).items() if n]
    if did:
        yield Fact("policy", ", ".join(did))
    if isinstance(s.interactivity_tokens_per_s, Interactivity):
        seen = s.interactivity_tokens_per_s
        yield Fact("interactivity", f"{seen.p50:,.1f} output tokens/s a turn; nine in ten, {seen.p90:,.1f} or more")
    if isinstance(s.fairness, Fairness):
        groups = ", ".join(times(group.slowdown) for group in s.fairness.by_length)
        yield Fact("fairness", f"Jain's index {s.fairness.jain:.2f}; slowdown from short to long programs {groups}")
    yield Fact(
        "throughput",
        f"{3600 * s.throughput.programs_per_s:,.1f} programs/h, "
        f"{s.throughput.output_tokens_per_s:,.0f} output tokens/s{_a_gpu(s.throughput)} over {seconds(s.sim_s)} s; "
        f"engine{'s' if s.replicas else ''} busy {percent(_over(s.busy_s, s.sim_s * (len(s.replicas or ()) or 1)))} "
        "of it",
    )
    if isinstance(s.cost, Cost):
        yield Fact("cost", cost_line(s.cost))
    if s.router and s.moved_turns is not UNSET:
        moved = f"{s.moved_turns:,} turns ({percent(s.moved_turns / s.turns)})"
        yield Fact("router", f"{s.router}: {moved} ran on another replica than the one before")
    yield Fact(
        "simulated in",
        f"{seconds(s.wall_s)} s: {_over(s.turns, s.wall_s):,.0f} turns/s, {count(s.steps)} engine steps",
    )


def _clients(did: Clients) -> str:
    """Return what clients did as text."""
    return (
        f"{count(did.aborted)} answers cut short, {count(did.timed_out)} requests timed out "
        f"({count(did.lost_tokens)} tokens computed in vain), {count(did.refused)} refused, {count(did.retries)} sent "
        f"again; {count(did.given_up)} programs given up"
    )


def cost_line(cost: Cost) -> str:
    """Return the cost per program as text."""
    hours = f"{seconds(cost.gpu_hours_per_program)} GPU-hours"
    if cost.usd_per_program is None or cost.usd_per_gpu_hour is None:
        return f"{hours} a program; no price of this GPU is listed: give one with --price"
    price = f"${cost.usd_per_gpu_hour:.2f} per GPU-hour ({cost.prices})"
    return f"{hours} and ${seconds(cost.usd_per_program)} a program, at {price}"


def _objectives(slo: KeptSlo) -> Table:
    """Return the table of objectives and how each was kept."""
    rows = [
        [
            item.objective,
            _bound(item, item.most),
            "–" if item.value is None else _bound(item, item.value),
            percent(item.share),
            Marked("kept", "good") if item.kept else Marked("missed", "bad"),
        ]
        for item in slo.objectives
    ]
    good = [
        f"{seconds(per_s)} {what}/s ({percent(share)}) within all objectives of {what}"
        for what, per_s, share in (
            ("turns", slo.good_turns_per_s, slo.turn_share),
            ("programs", slo.good_programs_per_s, slo.program_share),
        )
        if isinstance(per_s, float) and isinstance(share, float)
    ]
    note = f"Goodput: {'; '.join(good)}"
    return Table([name("objective"), *numbers("at most", "came to", "within"), label("")], rows, note=note)


def _bound(item: KeptObjective, value: float) -> str:
    return times(value) if item.objective.endswith("slowdown") else f"{seconds(value)} s"


def _a_gpu(throughput: Throughput) -> str:
    """Return output tokens per second and GPU as text; empty with a single GPU."""
    each = throughput.output_tokens_per_gpu_s
    several = isinstance(each, float) and each < throughput.output_tokens_per_s
    return f" ({each:,.0f} a GPU)" if several else ""


def _tools(tools: ToolCalls) -> str:
    """Return the outcomes of tool calls as text."""
    parts = [f"{count(tools.calls)} calls"]
    if tools.tries > tools.calls or tools.given_up:
        parts.append(
            f"{count(tools.timeouts)} timeouts and {count(tools.failures)} failures: "
            f"{count(tools.tries - tools.calls)} retries, {count(tools.given_up)} given up"
        )
    if tools.waits:
        parts.append(f"{count(tools.waits)} waited for a worker, {seconds(tools.wait_s / tools.waits)} s on average")
    return "; ".join(parts)


def _tier(tier: TierUse) -> str:
    """Return how full a memory tier was, and its traffic, as text."""
    return (
        f"{percent(tier.peak_used_share)} of {tier.blocks:,} blocks in use at the peak; "
        f"{tier.written_bytes / 1e9:,.1f} GB written, {tier.read_bytes / 1e9:,.1f} GB read, "
        f"link busy {percent(tier.link_busy_share)}"
    )


def _pins(s: Summary) -> str:
    """Return how many pins there were and how they ended, as text."""
    ends = asdict(s.pins)
    if not ends.pop("made"):
        return "none made"
    said = ", ".join(f"{n:,} {called(end)}" for end, n in ends.items())
    return f"{s.pins.made:,} made: {said}; {count(s.kv.pinned_block_seconds)} block·s held"


def _replicas(s: Summary, replicas: Sequence[ReplicaSummary]) -> Table:
    """Return the table of what each replica of a cluster did."""
    tiers, moved = any(part.tiers for part in replicas), any(part.pins_moved for part in replicas)
    heads = ["turns", "moved in", "busy", "from cache", *["reloaded"] * tiers, "recomputed", "preemptions", "peak KV"]
    rows = [
        [
            f"{part.replica} {part.gpu}",
            f"{part.turns:,}",
            f"{part.moved_in:,}",
            percent(_over(part.busy_s, s.sim_s)),
            percent(part.cached_tokens / part.prompt_tokens) if part.prompt_tokens else "–",
            *[count(part.reloaded_tokens) if part.tiers else "–"] * tiers,
            count(part.recomputed_tokens),
            count(part.preemptions),
            percent(part.peak_used_share),
            f"{part.pins.made:,}",
            f"{part.pins.hit:,}",
            *[f"{part.pins_moved:,}"] * moved,
        ]
        for part in replicas
    ]
    columns = [name("replica"), *numbers(*heads, "pins", "hit", *["moved"] * moved)]
    return Table(columns, rows, f"Replicas, router {s.router}")


def _over(amount: float, whole: float) -> float:
    return amount / whole if whole else 0.0
