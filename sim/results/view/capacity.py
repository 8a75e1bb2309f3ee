"""The rows of a capacity result: rates with intervals and predictions, what they mean for a load, service curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from continuum_sim.results.numbers import percent
from continuum_sim.results.view.parts import Block, Fact, Facts, Marked, Table, View, joined, name, numbers
from continuum_sim.steptime.uncertain import ends

if TYPE_CHECKING:
    from continuum_sim.capacities.result import CapacityResult, PolicyCapacity

_NONE = "–"


def capacity_view(found: CapacityResult) -> View:
    """Return the view of what a service sustains, policy by policy."""
    blocks: list[Block] = [_rates(found), Facts(list(_meanings(found))), _curves(found)]
    best = max(found.policies, key=lambda item: item.sustained_per_s)
    verdict = None
    if best.sustained_per_s and len(found.policies) > 1:
        verdict = Marked(f"{best.policy} sustains most: {rate(best.sustained_per_s)} programs/s", "good")
    return View(
        title=f"What {len(found.policies)} polic{'y sustains' if len(found.policies) == 1 else 'ies sustain'}",
        blocks=blocks,
        setting=[
            f"{found.trace}: {found.model} on {found.gpus}; {found.fits:.3g} programs fit the KV cache",
            *_precision(found),
        ],
        verdict=verdict,
    )


def rate(value: float | None) -> str:
    """Format a rate in programs per second with three figures."""
    if value is None:
        return "none"
    return f"{value:#.3g}".rstrip(".") if value else "0"


def load_line(item: PolicyCapacity, load_per_s: float, *, kept: str = "") -> str:
    """Return what a load of `load_per_s` programs per second means under a policy, and what to do about it.

    Parameters
    ----------
    kept
        Objectives that must be kept as well, in words.
    """
    if load_per_s <= item.sustained_per_s:
        return f"sustained: a burst drains, and JCT is back where it was{kept}"
    if load_per_s <= item.held_per_s:
        return metastable_line(item.crowded_per_s, item.sustained_per_s, item.peak_programs, kept=kept)
    below = f"add replicas or stay below {rate(item.sustained_per_s)}/s" if item.sustained_per_s else "add replicas"
    return f"too much: it does not hold even from an empty engine{kept}; {below}"


def metastable_line(congested_per_s: float, sustained_per_s: float, programs: float, *, kept: str = "") -> str:
    """Return the warning that a load holds only from an empty engine, and what to do about it.

    Parameters
    ----------
    programs
        Most programs in the system at which it is not congested.
    """
    return (
        f"metastable: it holds from an empty engine{kept}, but a burst, or a restart under load, leaves it congested "
        f"at {rate(congested_per_s)} programs/s, until the load falls below that. To be safe keep at most "
        f"{programs:.0f} programs in the system (as session-gate:limit={programs:.0f} does), or stay below "
        f"{rate(sustained_per_s)}/s"
    )


def _precision(found: CapacityResult) -> Iterator[str]:
    burst = f"a burst of {found.burst_programs:,} programs gone within {found.horizon_programs:,} arrivals"
    empty = f"{found.programs:,} arrivals from an empty engine"
    if found.unfit:
        yield found.unfit
    if found.slo:
        yield f"objectives kept as well: {found.slo}"
    if found.quick:
        yield f"predicted from the service curve, nothing else measured: {burst}; {empty}"
    else:
        yield (
            f"{burst}: {len(found.after_burst_seeds)} seeds, in steps of 4 %; {empty}: {len(found.seeds)} seeds, in "
            "steps of 8 %"
        )


def _rates(found: CapacityResult) -> Table:
    """Return the rates of the policies, one row each: what was measured, its interval, what was predicted."""
    columns = [name("policy"), *numbers("sustains")]
    interval = [] if found.quick else joined("95 % interval", "predicted")
    columns += [*interval, *numbers("from empty 5 %"), *interval, *numbers("half"), *interval]
    columns += [*numbers("congested"), *joined("95 % interval"), *numbers("peak"), *joined("at n")]
    rows = []
    for item in found.policies:
        after, empty, floor = item.recoverable_per_s, item.from_empty_per_s, item.congested_per_s
        row = [item.policy]
        for value, low, high, predicted in (
            (after.value, after.low, after.high, after.predicted),
            (empty.value, empty.low, empty.high, empty.predicted),
            (empty.median, empty.median_low, empty.median_high, empty.predicted_median),
        ):
            row.append(rate(value))
            if not found.quick:
                row += [_interval(low, high), rate(predicted)]
        row += [rate(floor.value), _interval(floor.low, floor.high), rate(item.peak_per_s), f"{item.peak_programs:.0f}"]
        rows.append(row)
    best = max(range(len(rows)), key=lambda at: found.policies[at].sustained_per_s)
    return Table(columns, rows, "Programs per second", best=best if len(rows) > 1 else None)


def _meanings(found: CapacityResult) -> Iterator[Fact]:
    """Yield what each policy's rates mean, or what they mean for the load asked about."""
    kept = f" within {found.slo}" if found.slo else ""
    for item in found.policies:
        if found.rate_per_s is not None:
            line = f"{rate(found.rate_per_s)}/s is {load_line(item, found.rate_per_s, kept=kept)}"
            line += _survival(item, found.rate_per_s, found.step_time_error or 0.0)
        elif not item.sustained_per_s and not item.held_per_s:
            line = f"no rate keeps {found.slo}" if found.slo else "no rate holds"
        elif item.metastable:
            line = (
                f"metastable from {rate(item.sustained_per_s)} to {rate(item.held_per_s)}/s: such a load holds from an "
                f"empty engine, and after a burst stays congested at {rate(item.crowded_per_s)}/s"
            )
        else:
            line = "no metastable loads: what holds from an empty engine recovers from a burst"
        yield Fact(item.policy, line)


def _survival(item: PolicyCapacity, load_per_s: float, error: float) -> str:
    """Return whether a load's verdict survives an error of step times, as text; nothing without an error.

    An engine whose steps take f times as long does everything f times as slowly, so that to it a load is f times as
    high: exactly so if tools were slower as well, and closely where the engine is what is waited for.
    """
    if not error:
        return ""
    kinds = {factor: _kind(item, load_per_s * factor) for factor in (1.0, *ends(error))}
    within = f"an error of {percent(error)} in step times"
    other = [f"{kind} at × {factor:.3f}" for factor, kind in kinds.items() if kind != kinds[1.0]]
    return f"; that does not survive {within}: {', '.join(other)}" if other else f"; that survives {within}"


def _kind(item: PolicyCapacity, load_per_s: float) -> str:
    if load_per_s <= item.sustained_per_s:
        return "sustained"
    return "metastable" if load_per_s <= item.held_per_s else "too much"


def _curves(found: CapacityResult) -> Table:
    """Return the service curves side by side."""
    curves = [{point.n: point.per_s for point in item.service_curve} for item in found.policies]
    rows = [
        [f"{n:,}", *(rate(curve[n]) if n in curve else _NONE for curve in curves)]
        for n in sorted({n for curve in curves for n in curve})
    ]
    columns = [name("programs in the system"), *numbers(*(item.policy for item in found.policies))]
    return Table(columns, rows, "Service curve: programs' worth of work per second")


def _interval(low: float | None, high: float | None) -> str:
    return _NONE if low is None or high is None else f"{rate(low)} … {rate(high)}"
