"""Two runs side by side for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from continuum_sim.cli.numbers import seconds, signed
from continuum_sim.cli.tables import StackedTable, name, numbers, words
from continuum_sim.results.difference import (
    EVENTS,
    ComparisonDifference,
    Differing,
    JctDifference,
    NumberDiffering,
    Parting,
    RunDifference,
)

_SHARES: Final = "time_share."
"""Of `time_s`, which is shown."""
_SHOWN_DIGITS: Final = 12
"""Of a hash or a commit."""


def run_diff_view(found: RunDifference) -> Iterator[RenderableType]:
    """Lay out what differs between two runs."""
    yield _sides(found.a, found.b)
    yield from _settings([*found.settings, *found.versions])
    yield ""
    if found.identical:
        yield Text("The results are identical.", style="bold")
        return
    shown = [one for one in found.metrics if not one.name.startswith(_SHARES)]
    if shown:
        yield Text("Results that differ (B − A)", style="bold")
        yield _metrics(shown)
    else:
        yield Text("The numbers of the summaries are the same but for rounding; rows of the tables differ.")
    lines = [_jct(found.jct)] if found.jct is not None else []
    lines += [_parting(found.parting)] if found.parting is not None else []
    if lines:
        yield ""
        yield from map(Text, lines)


def comparison_diff_view(found: ComparisonDifference) -> Iterator[RenderableType]:
    """Lay out what differs between two comparisons: settings once, and a row a run."""
    yield _sides(found.a, found.b)
    differing: list[Differing] = []
    for run in found.runs.values():
        differing += [one for one in (*run.settings, *run.versions) if one not in differing]
    yield from _settings(differing)
    yield ""
    if found.identical:
        yield Text("The results of all runs are identical.", style="bold")
        return
    heads = ("A", "B", "difference s", "ratio", "faster", "slower", "equal", "they part at s")
    yield Text("Mean JCT (s), and programs of B against those of A", style="bold")
    table = StackedTable([name("run"), *numbers(*heads)])
    for place, run in found.runs.items():
        table.add_row(place, *_row(run))
    yield table


def _row(run: RunDifference) -> list[str]:
    mean = next((one for one in run.metrics if one.name == "jct_s.mean"), None)
    jct, parting = run.jct, run.parting
    return [
        *(("–", "–", "0", "1.000") if mean is None else _cells(mean)),
        *(("–", "–", "–") if jct is None else (f"{jct.faster:,}", f"{jct.slower:,}", f"{jct.equal:,}")),
        "identical" if run.identical else "–" if parting is None else seconds(parting.time_s),
    ]


def _sides(a: str, b: str) -> Text:
    return Text(f"A: {a}\nB: {b}\n")


def _settings(differing: Sequence[Differing]) -> Iterator[RenderableType]:
    if not differing:
        yield Text("Settings and versions are identical.", style="bold")
        return
    yield Text("Settings and versions that differ", style="bold")
    table = StackedTable([name("setting"), words("A"), words("B")])
    for one in differing:
        table.add_row(one.name, _value(one.name, one.a), _value(one.name, one.b))
    yield table


def _value(of: str, value: Any) -> str:
    if value is None:
        return "–"
    if of in ("commit", "trace.sha256") and isinstance(value, str):
        commit, sign, dirty = value.partition("-")
        return commit[:_SHOWN_DIGITS] + sign + dirty
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _metrics(differing: Sequence[NumberDiffering]) -> StackedTable:
    table = StackedTable([name("summary"), *numbers("A", "B", "difference", "ratio")])
    for one in differing:
        table.add_row(one.name, *_cells(one))
    return table


def _cells(one: NumberDiffering) -> list[str]:
    ratio = "–" if one.ratio is None else f"{one.ratio:.3f}"
    difference = "–" if one.difference is None else _number(one.difference, sign=True)
    return [_number(one.a), _number(one.b), difference, ratio]


def _number(value: float | int | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:{'+' if sign else ''},}".replace("-", "−")
    text = signed(value) if sign else seconds(value)
    return text if text != "0" or not value else f"{value:{'+' if sign else ''}.1e}".replace("-", "−")


def _jct(jct: JctDifference) -> str:
    if jct.equal == jct.programs:
        return f"JCT of the same {jct.programs:,} programs: equal in every one"
    return (
        f"JCT of the same {jct.programs:,} programs: {_number(jct.mean_difference_s, sign=True)} s on average (95 % "
        f"interval {signed(jct.low_s)} … {signed(jct.high_s)}), ratio {jct.ratio:.3f}; in B {jct.faster:,} faster, "
        f"{jct.slower:,} slower, {jct.equal:,} equal"
    )


def _parting(parting: Parting) -> str:
    what = f"turn {parting.turn} of {parting.program} {EVENTS[parting.event]} then"
    at = f"They part ways at {parting.time_s:,.4f} s: {what}"
    if parting.a_s is None or parting.b_s is None:
        there, absent = ("B", "A") if parting.a_s is None else ("A", "B")
        return f"{at} in {there}, and never in {absent}"
    first, later = ("A", "B") if parting.a_s < parting.b_s else ("B", "A")
    return f"{at} in {first}, and {_number(abs(parting.b_s - parting.a_s))} s later in {later}"
