"""A run's summary for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import UNSET
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from continuum_sim.cli.tables import StackedTable, name, numbers
from continuum_sim.results.numbers import count, percent, seconds
from continuum_sim.results.summary import Quantiles, ReplicaSummary, Summary, TierUse, TimeSplit, ToolCalls

# Told apart by shade where there is no colour.
PARTS: Final = (
    ("queue", "█", "red"),
    ("reload", "▚", "magenta"),
    ("prefill", "▓", "yellow"),
    ("decode", "▒", "green"),
    ("tool", "░", "blue"),
    ("tool_wait", "▚", "magenta"),
    ("join", "▞", "cyan"),
)
_RARE: Final = ("reload", "tool_wait", "join")
"""Parts that are left out where there is none."""
_BAR_CELLS: Final = 60


def summary_view(summary: Summary) -> RenderableType:
    """Lay a summary out."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for label, fact in _facts(summary):
        facts.add_row(label, fact)
    replicas: list[RenderableType] = ["", _replicas(summary.replicas, summary.sim_s)] if summary.replicas else []
    return Group(_quantiles(summary), "", facts, *replicas, *notes_view(summary.notes))


def notes_view(notes: list[str]) -> list[RenderableType]:
    """Lay notes out, an empty line before them."""
    return ["", *(Text(f"note: {note}", style="italic") for note in notes)] if notes else []


def _quantiles(summary: Summary) -> StackedTable:
    table = StackedTable([name("seconds"), *numbers(*Quantiles.__struct_fields__)])
    rows = (
        ("JCT (a program)", summary.jct_s),
        ("queue wait (a turn)", summary.queue_wait_s),
        ("TTFT (a turn)", summary.ttft_s),
    )
    for label, quantiles in rows:
        table.add_row(label, *(seconds(getattr(quantiles, q)) for q in Quantiles.__struct_fields__))
    return table


def _facts(summary: Summary) -> Iterator[tuple[str, RenderableType]]:
    s = summary
    yield "where the time went", TimeBar(s.time_share)
    yield "", time_legend(s.time_s, s.time_share)
    if isinstance(s.tools, ToolCalls):
        yield "tool calls", tools_line(s.tools)
    prompt_tokens = s.prefill.computed_tokens + s.prefill.cached_tokens + s.prefill.reloaded_tokens
    yield (
        "prefill",
        f"{count(s.prefill.computed_tokens)} tokens computed, {count(s.prefill.recomputed_tokens)} of them again; "
        f"{count(s.prefill.cached_tokens)} from cache ({percent(s.prefill.cached_tokens / prompt_tokens)})"
        + (f"; {count(s.prefill.reloaded_tokens)} reloaded" if s.tiers else ""),
    )
    yield (
        "KV cache",
        f"{percent(s.kv.peak_used_share)} of {s.kv.blocks:,} blocks in use at the peak; "
        f"{count(s.preemptions)} preemptions",
    )
    for tier in s.tiers:
        yield tier.name.upper(), tier_line(tier)
    if s.policy_activity.offloads:
        yield "offloads", offloads_line(s)
    yield "pins", pins_line(s)
    yield (
        "throughput",
        f"{3600 * s.throughput.programs_per_s:,.1f} programs/h, "
        f"{s.throughput.output_tokens_per_s:,.0f} output tokens/s over {seconds(s.sim_s)} s; "
        f"engine{'s' if s.replicas else ''} busy {percent(s.busy_s / s.sim_s / (len(s.replicas or ()) or 1))} of it",
    )
    if s.router and s.moved_turns is not UNSET:
        share = percent(s.moved_turns / s.turns)
        yield "router", f"{s.router}: {s.moved_turns:,} turns ({share}) ran on another replica than the one before"
    yield (
        "simulated in",
        f"{seconds(s.wall_s)} s: {s.turns / s.wall_s:,.0f} turns/s, {count(s.steps)} engine steps",
    )


def _replicas(replicas: list[ReplicaSummary], sim_s: float) -> StackedTable:
    tiers = any(part.tiers for part in replicas)
    heads = ("turns", "moved in", "busy", "from cache", *(("reloaded",) if tiers else ()), "recomputed")
    table = StackedTable([name("replica"), *numbers(*heads, "preemptions", "peak KV", "pins", "hit")])
    for part in replicas:
        table.add_row(
            f"{part.replica} {part.gpu}",
            f"{part.turns:,}",
            f"{part.moved_in:,}",
            percent(part.busy_s / sim_s),
            percent(part.cached_tokens / part.prompt_tokens) if part.prompt_tokens else "–",
            *((count(part.reloaded_tokens) if part.tiers else "–",) if tiers else ()),
            count(part.recomputed_tokens),
            count(part.preemptions),
            percent(part.peak_used_share),
            f"{part.pins.made:,}",
            f"{part.pins.hit:,}",
        )
    return table


def pins_line(summary: Summary) -> str:
    """Say how many pins there were and how they ended."""
    pins = summary.pins
    if not pins.made:
        return "none made"
    return (
        f"{pins.made:,} made: {pins.hit:,} hit, {pins.expired:,} expired, {pins.broken:,} broken; "
        f"{count(summary.kv.pinned_block_seconds)} block·s held"
    )


def tools_line(tools: ToolCalls) -> str:
    """Say what became of the tool calls."""
    parts = [f"{count(tools.calls)} calls"]
    if tools.tries > tools.calls or tools.given_up:
        parts.append(
            f"{count(tools.timeouts)} timeouts and {count(tools.failures)} failures: "
            f"{count(tools.tries - tools.calls)} retries, {count(tools.given_up)} given up"
        )
    if tools.waits:
        parts.append(f"{count(tools.waits)} waited for a worker, {seconds(tools.wait_s / tools.waits)} s on average")
    return "; ".join(parts)


def tier_line(tier: TierUse) -> str:
    """Say how full a memory tier was and what moved."""
    return (
        f"{percent(tier.peak_used_share)} of {tier.blocks:,} blocks in use at the peak; "
        f"{tier.written_bytes / 1e9:,.1f} GB written, {tier.read_bytes / 1e9:,.1f} GB read, "
        f"link busy {percent(tier.link_busy_share)}"
    )


def offloads_line(summary: Summary) -> str:
    """Say what the policy itself moved between the memories."""
    activity = summary.policy_activity
    early = f"; {count(activity.recalls)} brought back ahead of their turn" if activity.recalls else ""
    return f"{count(activity.offloads)} contexts sent to host memory by the policy{early}"


class TimeBar:
    """The shares of the JCT as one bar, as long as there is room for."""

    def __init__(self, share: TimeSplit) -> None:
        self._share = share

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        length = min(_BAR_CELLS, options.max_width)
        bar = Text()
        drawn = 0
        total = 0.0
        for part, glyph, colour in PARTS:
            total += getattr(self._share, part)
            cells = round(total * length) - drawn
            bar.append(glyph * cells, style=colour)
            drawn += cells
        yield bar

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Say how long it may be."""
        return Measurement(1, _BAR_CELLS)


def time_legend(time_s: TimeSplit, share: TimeSplit) -> Text:
    """Spell the bar out."""
    legend = Text()
    for part, glyph, colour in PARTS:
        part_s = getattr(time_s, part)
        if part_s or part not in _RARE:
            legend.append(f"{glyph} ", style=colour)
            legend.append(f"{part.replace('_', ' ')} {seconds(part_s)} s ({percent(getattr(share, part))})   ")
    return legend
