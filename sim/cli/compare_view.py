"""A comparison for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from continuum_sim.cli.tables import Column, StackedTable, joined, name, numbers
from continuum_sim.results.compared import ComparisonRow
from continuum_sim.results.numbers import count, percent, seconds, signed
from continuum_sim.results.paired import SEEDS_TO_RESAMPLE, PairedDifference

_SHOWN_METRICS: Final = ("mean", "p95")
_RARE_PARTS: Final = (("reload_s", "reload"), ("tool_wait_s", "tool wait"), ("join_s", "join"))
"""Columns of runs with memory tiers, with bounded tools and with sub-agents."""


def comparison_view(rows: Sequence[ComparisonRow], differences: Sequence[PairedDifference]) -> RenderableType:
    """Lay a comparison out: JCT and where it went, memory and pins, differences from the baseline, notes."""
    parts: list[RenderableType] = [_times(rows), "", _memory(rows)]
    if rows[0].router:
        parts += ["", _cluster(rows)]
    if differences:
        title = f"JCT against {differences[0].baseline}, the same programs and arrivals"
        parts += ["", differences_table(differences, title), Text(_method(differences[0]), style="dim")]
    notes = [(row.policy, note) for row in rows for note in row.notes]
    if notes:
        parts.append("")
        parts += [Text(f"note ({policies}): {note}", style="italic") for policies, note in _grouped(notes, len(rows))]
    return Group(*parts)


def _table(title: str, *columns: str) -> StackedTable:
    return StackedTable([name("policy"), *numbers(*columns)], title)


def _times(rows: Sequence[ComparisonRow]) -> StackedTable:
    rare = [(part, title) for part, title in _RARE_PARTS if any(getattr(row, part) for row in rows)]
    table = _table(
        "JCT, and where it goes (seconds a program)",
        *("mean", "p50", "p90", "p95", "p99", "queue", "prefill", "decode", "tool"),
        *(title for _, title in rare),
        "programs/h",
    )
    best_s = min(row.jct_mean_s for row in rows)
    for row in rows:
        jct = (row.jct_mean_s, row.jct_p50_s, row.jct_p90_s, row.jct_p95_s, row.jct_p99_s)
        split = (row.queue_s, row.prefill_s, row.decode_s, row.tool_s, *(getattr(row, part) for part, _ in rare))
        style = "bold" if row.jct_mean_s == best_s else None
        table.add_row(row.policy, *map(seconds, (*jct, *split)), f"{3600 * row.programs_per_s:,.1f}", style=style)
    return table


def _memory(rows: Sequence[ComparisonRow]) -> StackedTable:
    reloads = any(row.reloaded_tokens for row in rows)
    table = _table(
        "Prompt tokens and pins (a run)",
        *("computed", "recomputed", "from cache", *(("reloaded",) if reloads else ())),
        *("preemptions", "pins", "hit", "expired", "broken"),
    )
    for row in rows:
        tokens = [row.computed_tokens, row.recomputed_tokens, row.cached_tokens, *([row.reloaded_tokens] * reloads)]
        pins = (row.pins_made, row.pins_hit, row.pins_expired, row.pins_broken)
        table.add_row(row.policy, *map(count, (*tokens, row.preemptions, *pins)))
    return table


def _cluster(rows: Sequence[ComparisonRow]) -> StackedTable:
    table = _table("Cluster (a run)", "router", "moved turns", "from cache", "busiest replica / mean")
    for row in rows:
        share = row.cached_tokens / (row.cached_tokens + row.computed_tokens)
        cells = (str(row.router), count(row.moved_turns or 0), percent(share), f"{row.busiest_ratio or 0:.2f}")
        table.add_row(row.policy, *cells)
    return table


def differences_table(differences: Sequence[PairedDifference], title: str) -> StackedTable:
    """Lay differences out, with a verdict each; `_SHOWN_METRICS` of them."""
    columns = [name("policy"), Column("JCT", "label"), *numbers("difference s"), *joined("95 % interval")]
    columns += [*numbers("ratio"), *joined("95 % interval", "")]
    table = StackedTable(columns, title)
    for item in differences:
        if item.metric not in _SHOWN_METRICS:
            continue
        table.add_row(
            item.policy,
            item.metric,
            signed(item.difference_s),
            f"{signed(item.difference_low_s)} … {signed(item.difference_high_s)}",
            f"{item.ratio:.3f}",
            f"{item.ratio_low:.3f} … {item.ratio_high:.3f}",
            _verdict(item),
        )
    return table


EQUAL_RATIO = 5e-4
"""Ratios nearer to 1 than this print as 1.000."""


def _method(item: PairedDifference) -> str:
    hint = ""
    if item.resampled == "programs":
        hint = f"; with {SEEDS_TO_RESAMPLE} seeds or more (--seeds) it would be about other arrivals too"
    return (
        f"Paired bootstrap over {item.pairs:,} pairs (one program under one seed), resampling {item.resampled}{hint}."
    )


def _verdict(item: PairedDifference) -> Text:
    if not item.beyond_noise:
        return Text("within noise", style="dim")
    if abs(item.ratio - 1) < EQUAL_RATIO:
        return Text("equal", style="dim")  # sure to differ, by nothing anyone would notice
    return Text("faster", style="green") if item.difference_s < 0 else Text("slower", style="red")


def _grouped(notes: Sequence[tuple[str, str]], num_policies: int) -> list[tuple[str, str]]:
    """Each note once, with the policies it is about."""
    about: dict[str, list[str]] = {}
    for policy, note in notes:
        about.setdefault(note, []).append(policy)
    return [("all" if len(who) == num_policies else ", ".join(who), note) for note, who in about.items()]
