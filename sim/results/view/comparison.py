"""The rows of a comparison: JCT and where it goes, memory and pins, differences from the baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from continuum_sim.results.estimate import ENOUGH_RUNS, LEAST_RUNS
from continuum_sim.results.measured import all_drawn
from continuum_sim.results.numbers import count, percent, seconds, signed, times
from continuum_sim.results.paired import PairedDifference
from continuum_sim.results.summary import Prefill, Summary, TimeSplit
from continuum_sim.results.survival import AtEnds
from continuum_sim.results.view.capacity import metastable_line, rate
from continuum_sim.results.view.parts import (
    Bar,
    Block,
    Fact,
    Facts,
    Marked,
    Note,
    Part,
    Table,
    Tone,
    View,
    joined,
    label,
    name,
    numbers,
)
from continuum_sim.results.view.recovery import joint_recovery_line
from continuum_sim.results.view.run import called, load_of, shown_parts
from continuum_sim.results.view.verdict import joint_line
from continuum_sim.setup.notation import rate_of
from continuum_sim.steady.curve import recoverable_from_floor

if TYPE_CHECKING:
    from continuum_sim.results.compared import ComparisonRow

FEW_METRICS: Final = ("mean", "p95")
"""Statistics of the JCT whose differences are shown by default."""
_TONES: Final[dict[str, Tone]] = {"faster": "good", "slower": "bad"}


def comparison_view(
    rows: Sequence[ComparisonRow],
    differences: Sequence[PairedDifference],
    summaries: Sequence[Summary],
    *,
    metrics: Sequence[str] = FEW_METRICS,
    at_ends: Sequence[AtEnds] = (),
) -> View:
    """Return the view of a comparison; `metrics` chooses the differences to show."""
    first, seeds = summaries[0], list(dict.fromkeys(summary.seed for summary in summaries))
    blocks: list[Block] = [_times(rows), _bars(rows), *_latency(rows), _memory(rows)]
    verdicts = [Fact(row.policy, joint_line(row.verdict)) for row in rows if row.verdict is not None]
    bursts = [Fact(row.policy, joint_recovery_line(row.recovery)) for row in rows if row.recovery is not None]
    load_per_s = rate_of(first.arrivals)
    loads = [fact for row in rows if (fact := _metastable(row, load_per_s)) is not None]
    blocks[:0] = [Facts(facts) for facts in (verdicts, bursts, loads) if facts]
    if rows[0].router:
        blocks.append(_cluster(rows))
    if differences:
        # This table's note says what its intervals cover, which holds for those of the means above as well.
        title = f"JCT against {differences[0].baseline}, the same programs and arrivals"
        blocks.append(differences_table(differences, title, metrics=metrics))
    elif len(seeds) > 1:
        blocks.append(Facts([Fact("intervals", about_line(len(seeds), drawn=all_drawn(summaries)))]))
    if at_ends:
        blocks.append(Facts([Fact(item.policy, item.line()) for item in at_ends]))
    said = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return View(
        title=f"{len(rows)} policies on {first.trace}",
        blocks=blocks,
        notes=_notes(rows),
        setting=[load_of(first, said)],
    )


def differences_table(
    differences: Sequence[PairedDifference], title: str, *, metrics: Sequence[str] = FEW_METRICS
) -> Table:
    """Return differences with their verdicts as a table, and a note on what the intervals cover."""
    rows = [
        [
            item.policy,
            item.metric,
            signed(item.difference_s),
            _between(item.difference_low_s, item.difference_high_s, signed),
            f"{item.ratio:.3f}",
            _between(item.ratio_low, item.ratio_high, "{:.3f}".format),
            _verdict(item),
        ]
        for item in differences
        if item.metric in metrics
    ]
    columns = [name("policy"), label("JCT"), *numbers("difference s"), *joined("95 % interval")]
    columns += [*numbers("ratio"), *joined("95 % interval", "")]
    return Table(columns, rows, title, about_line(differences[0].runs, drawn=differences[0].drawn))


def _times(rows: Sequence[ComparisonRow]) -> Table:
    parts = shown_parts(*map(_time_s, rows))
    several = any(math.isfinite(row.jct_mean_low_s) for row in rows)
    columns = [name("policy"), *numbers("mean"), *(joined("95 % interval") if several else ())]
    columns += numbers("p50", "p90", "p95", "p99", *map(called, parts), "programs/h")
    cells = []
    for row in rows:
        jct = (row.jct_p50_s, row.jct_p90_s, row.jct_p95_s, row.jct_p99_s)
        split = (_time_s(row)[part] for part in parts)
        mean = [seconds(row.jct_mean_s)]
        mean += [_between(row.jct_mean_low_s, row.jct_mean_high_s, seconds)] * several
        cells.append([row.policy, *mean, *map(seconds, (*jct, *split)), f"{3600 * row.programs_per_s:,.1f}"])
    best = min(range(len(rows)), key=lambda at: rows[at].jct_mean_s)
    return Table(columns, cells, "JCT, and where it goes (seconds a program)", best=best)


def _bars(rows: Sequence[ComparisonRow]) -> Facts:
    """Return a bar per policy, in proportion to its mean JCT; the table above has the seconds."""
    longest_s = max(row.jct_mean_s for row in rows)
    parts = shown_parts(*map(_time_s, rows))
    bars = []
    for row in rows:
        time_s = _time_s(row)
        total_s = sum(time_s.values())
        drawn = [Part(called(part), time_s[part] / total_s if total_s else 0.0) for part in parts]
        bars.append(Bar(row.policy, drawn, row.jct_mean_s / longest_s if longest_s else 1.0))
    return Facts(bars)


_LATENCY: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "TPOT p50": ("tpot_p50_s", seconds),
    "TPOT p90": ("tpot_p90_s", seconds),
    "tokens/s p90": ("interactivity_p90_tokens_per_s", "{:,.1f}".format),
    "slowdown": ("slowdown_mean", times),
    "slowdown p95": ("slowdown_p95", times),
    "Jain": ("jain", "{:.2f}".format),
    "programs in SLO": ("program_share", percent),
    "turns in SLO": ("turn_share", percent),
    "$/program": ("usd_per_program", seconds),
}
"""Head of a column -> the entry of a row, and its formatter."""


def _latency(rows: Sequence[ComparisonRow]) -> list[Table]:
    """Return the table of latency, fairness and cost, with the entries that all rows have; none if there are none."""
    shown = {
        head: (entry, write)
        for head, (entry, write) in _LATENCY.items()
        if all(isinstance(getattr(row, entry), float) for row in rows)
    }
    if not shown:
        return []
    cells = [[row.policy, *(write(getattr(row, entry)) for entry, write in shown.values())] for row in rows]
    return [
        Table([name("policy"), *numbers(*shown)], cells, "Latency, fairness, cost (means over runs; TPOT in seconds)")
    ]


def _memory(rows: Sequence[ComparisonRow]) -> Table:
    reloads = any(row.reloaded_tokens for row in rows)
    heads = ("computed", "recomputed", "from cache", *["reloaded"] * reloads)
    columns = [name("policy"), *numbers(*heads, "preemptions", "pins", "hit", "expired", "broken")]
    cells = []
    for row in rows:
        tokens = (row.computed_tokens, row.recomputed_tokens, row.cached_tokens, *[row.reloaded_tokens] * reloads)
        pins = (row.pins_made, row.pins_hit, row.pins_expired, row.pins_broken)
        cells.append([row.policy, *map(count, (*tokens, row.preemptions, *pins))])
    return Table(columns, cells, "Prompt tokens and pins (a run)")


def _metastable(row: ComparisonRow, load_per_s: float | None) -> Fact | None:
    """Say of a load that holds whether it would after a burst as well; nothing where that is not known."""
    if row.congested is None or load_per_s is None:
        return None
    sustained_per_s = recoverable_from_floor(row.congested.per_s)
    if load_per_s <= sustained_per_s:
        return Fact(row.policy, f"recovers: even congested it serves {rate(row.congested.per_s)} programs/s")
    return Fact(row.policy, metastable_line(row.congested.per_s, sustained_per_s, row.congested.fits))


def _cluster(rows: Sequence[ComparisonRow]) -> Table:
    columns = [name("policy"), *numbers("router", "moved turns", "from cache", "busiest replica / mean")]
    cells = []
    for row in rows:
        tokens = {kind: getattr(row, kind) for kind in Prefill.__struct_fields__}
        share = percent(Prefill(**tokens).cached_share)
        cells.append([row.policy, str(row.router), count(row.moved_turns or 0), share, f"{row.busiest_ratio or 0:.2f}"])
    return Table(columns, cells, "Cluster (a run)")


def _time_s(row: ComparisonRow) -> Mapping[str, float]:
    return {part: getattr(row, f"{part}_s") for part in TimeSplit.__struct_fields__}


def _between(low: float, high: float, text: Callable[[float], str]) -> str:
    return f"{text(low)} … {text(high)}" if math.isfinite(low) else "–"


def _verdict(item: PairedDifference) -> Marked:
    said = item.verdict or "–"
    return Marked(said, _TONES.get(said, "faint"))


def about_line(runs: int, *, drawn: bool) -> str:
    """Return what intervals over runs cover; 0 runs mean a comparison of an earlier version."""
    if not runs:
        return "Intervals of an earlier version, which resampled programs or seeds."
    if runs == 1:
        return "One run has no interval: give several seeds (--seeds)."
    few = f"; no verdict below {LEAST_RUNS} seeds" if runs < LEAST_RUNS else ""
    if not drawn:
        return f"Intervals (95 %): these programs, other arrivals; {runs} runs replay the same programs{few}."
    first = f" (a first look; {ENOUGH_RUNS} seeds or more make an interval)" if runs < ENOUGH_RUNS else ""
    return (
        "Intervals (95 %): other programs of this kind and other arrivals; "
        f"each of {runs} runs drew its own programs{first}{few}."
    )


def _notes(rows: Sequence[ComparisonRow]) -> list[Note]:
    """Return each note once, with the policies it is about."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            about.setdefault(note, []).append(row.policy)
    return [Note(note, "all" if len(who) == len(rows) else ", ".join(who)) for note, who in about.items()]
