"""The page of a comparison: one row a policy, and how each differs from the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from continuum_sim.cli.compare_view import EQUAL_RATIO
from continuum_sim.report.page import ALWAYS, Bar, Grid, Page, command_line, configuration, made_by, time_bar
from continuum_sim.results.compared import ComparisonRow
from continuum_sim.results.numbers import count, seconds, signed
from continuum_sim.results.paired import PairedDifference
from continuum_sim.results.summary import Summary, TimeSplit

_PARTS: Final = TimeSplit.__struct_fields__


def comparison_page(
    rows: Sequence[ComparisonRow],
    differences: Sequence[PairedDifference],
    summaries: Sequence[Summary],
    manifest: Mapping[str, Any],
    first_run: Mapping[str, Any],
) -> Page:
    """Lay out the page of a comparison; `first_run` is the manifest of its first run."""
    seeds = manifest["seeds"]
    first = summaries[0]
    shared = {name: value for name, value in first_run.items() if name not in ("seed", "policy")}
    grids = [_times(rows), _memory(rows)]
    if differences:
        grids.append(_differences(differences))
    return Page(
        title=f"{len(rows)} policies on {first.trace}",
        subtitle=f"arrivals {first.arrivals}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}; "
        f"baseline {manifest['baseline']}",
        notes=_notes(rows),
        grids=grids,
        bars=_bars(rows),
        command=command_line(manifest),
        versions=made_by(manifest),
        configuration=configuration(shared),
    )


def _times(rows: Sequence[ComparisonRow]) -> Grid:
    parts = [part for part in _PARTS if part in ALWAYS or any(getattr(row, f"{part}_s") for row in rows)]
    named = (part.replace("_", " ") for part in parts)
    columns = ("policy", "mean", "p50", "p90", "p95", "p99", *named, "programs/h")
    cells = []
    for row in rows:
        jct = (row.jct_mean_s, row.jct_p50_s, row.jct_p90_s, row.jct_p95_s, row.jct_p99_s)
        split = (getattr(row, f"{part}_s") for part in parts)
        cells.append((row.policy, *map(seconds, (*jct, *split)), f"{3600 * row.programs_per_s:,.1f}"))
    best = min(range(len(rows)), key=lambda i: rows[i].jct_mean_s)
    return Grid("JCT, and where it goes (seconds a program)", columns, cells, best)


def _memory(rows: Sequence[ComparisonRow]) -> Grid:
    columns = ("policy", "computed", "recomputed", "from cache", "preemptions", "pins", "hit", "expired", "broken")
    cells = []
    for row in rows:
        tokens = (row.computed_tokens, row.recomputed_tokens, row.cached_tokens)
        pins = (row.pins_made, row.pins_hit, row.pins_expired, row.pins_broken)
        cells.append((row.policy, *map(count, (*tokens, row.preemptions, *pins))))
    return Grid("Prompt tokens and pins (a run)", columns, cells)


def _differences(differences: Sequence[PairedDifference]) -> Grid:
    first = differences[0]
    cells = [
        (
            item.policy,
            item.metric,
            signed(item.difference_s),
            f"{signed(item.difference_low_s)} … {signed(item.difference_high_s)}",
            f"{item.ratio:.3f}",
            f"{item.ratio_low:.3f} … {item.ratio_high:.3f}",
            _verdict(item),
        )
        for item in differences
    ]
    columns = ("policy", "JCT", "difference s", "95 % interval", "ratio", "95 % interval", "")
    note = f"Paired bootstrap over {first.pairs:,} pairs (one program under one seed), resampling {first.resampled}."
    return Grid(f"JCT against {first.baseline}, the same programs and arrivals", columns, cells, note=note)


def _verdict(item: PairedDifference) -> str:
    if not item.beyond_noise:
        return "within noise"
    if abs(item.ratio - 1) < EQUAL_RATIO:
        return "equal"
    return "faster" if item.difference_s < 0 else "slower"


def _bars(rows: Sequence[ComparisonRow]) -> list[Bar]:
    """A bar a policy, as long as its mean JCT."""
    longest_s = max(row.jct_mean_s for row in rows)
    bars = []
    for row in rows:
        time_s = {part: getattr(row, f"{part}_s") for part in _PARTS}
        title = f"{row.policy}: mean JCT {seconds(row.jct_mean_s)} s"
        bars.append(time_bar(title, time_s, row.jct_mean_s / longest_s if longest_s else 1.0))
    return bars


def _notes(rows: Sequence[ComparisonRow]) -> list[str]:
    """Each note once, with the policies it is about."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            about.setdefault(note, []).append(row.policy)
    return [f"{'all' if len(who) == len(rows) else ', '.join(who)}: {note}" for note, who in about.items()]
