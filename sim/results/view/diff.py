"""The rows of the differences between two runs, or two comparisons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from continuum_sim.results.difference import (
    EVENTS,
    ComparisonDifference,
    Differing,
    JctDifference,
    NumberDiffering,
    Parting,
    RunDifference,
)
from continuum_sim.results.numbers import seconds, signed
from continuum_sim.results.view.parts import Block, Fact, Facts, Marked, Table, View, name, numbers, words

_SHARES: Final = "time_share."
"""Prefix of numbers not shown, as `time_s` says the same."""
_SHOWN_DIGITS: Final = 12
"""Digits shown of a hash or a commit."""


def run_diff_view(found: RunDifference) -> View:
    """Return the view of the differences between two runs."""
    blocks = [_settings([*found.settings, *found.versions])]
    if found.identical:
        return _view(found, blocks, Marked("The results are identical.", "good"))
    shown = [one for one in found.metrics if not one.name.startswith(_SHARES)]
    if shown:
        blocks.append(_metrics(shown))
    else:
        same = "The numbers of the summaries are the same but for rounding; rows of the tables differ."
        blocks.append(Facts([Fact("results", same)]))
    facts = [Fact("JCT", _jct(found.jct))] if found.jct is not None else []
    facts += [Fact("parting", _parting(found.parting))] if found.parting is not None else []
    if facts:
        blocks.append(Facts(facts))
    return _view(found, blocks)


def comparison_diff_view(found: ComparisonDifference) -> View:
    """Return the view of the differences between two comparisons: settings once, and one row per run."""
    differing: list[Differing] = []
    for run in found.runs.values():
        differing += [one for one in (*run.settings, *run.versions) if one not in differing]
    blocks = [_settings(differing)]
    if found.identical:
        return _view(found, blocks, Marked("The results of all runs are identical.", "good"))
    heads = ("A", "B", "difference s", "ratio", "faster", "slower", "equal", "they part at s")
    rows = [(place, *_row(run)) for place, run in found.runs.items()]
    title = "Mean JCT (s), and programs of B against those of A"
    return _view(found, [*blocks, Table([name("run"), *numbers(*heads)], rows, title)])


def _view(found: RunDifference | ComparisonDifference, blocks: Sequence[Block], verdict: Marked | None = None) -> View:
    return View("What differs", blocks, setting=[f"A: {found.a}", f"B: {found.b}"], verdict=verdict)


def _row(run: RunDifference) -> list[str]:
    mean = next((one for one in run.metrics if one.name == "jct_s.mean"), None)
    jct, parting = run.jct, run.parting
    return [
        *(("–", "–", "0", "1.000") if mean is None else _cells(mean)),
        *(("–", "–", "–") if jct is None else (f"{jct.faster:,}", f"{jct.slower:,}", f"{jct.equal:,}")),
        "identical" if run.identical else "–" if parting is None else seconds(parting.time_s),
    ]


def _settings(differing: Sequence[Differing]) -> Block:
    if not differing:
        return Facts([Fact("settings", "Settings and versions are identical.")])
    rows = [(one.name, _value(one.name, one.a), _value(one.name, one.b)) for one in differing]
    return Table([name("setting"), words("A"), words("B")], rows, "Settings and versions that differ")


def _value(of: str, value: Any) -> str:
    if value is None:
        return "–"
    if of in ("commit", "trace.sha256") and isinstance(value, str):
        commit, sign, dirty = value.partition("-")
        return commit[:_SHOWN_DIGITS] + sign + dirty
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _metrics(differing: Sequence[NumberDiffering]) -> Table:
    rows = [(one.name, *_cells(one)) for one in differing]
    return Table([name("summary"), *numbers("A", "B", "difference", "ratio")], rows, "Results that differ (B − A)")


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
        return f"of the same {jct.programs:,} programs: equal in every one"
    return (
        f"of the same {jct.programs:,} programs: {_number(jct.mean_difference_s, sign=True)} s on average, "
        f"ratio {jct.ratio:.3f}; in B {jct.faster:,} faster, {jct.slower:,} slower, {jct.equal:,} equal"
    )


def _parting(parting: Parting) -> str:
    what = f"turn {parting.turn} of {parting.program} {EVENTS[parting.event]} then"
    at = f"They part ways at {parting.time_s:,.4f} s: {what}"
    if parting.a_s is None or parting.b_s is None:
        there, absent = ("B", "A") if parting.a_s is None else ("A", "B")
        return f"{at} in {there}, and never in {absent}"
    first, later = ("A", "B") if parting.a_s < parting.b_s else ("B", "A")
    return f"{at} in {first}, and {_number(abs(parting.b_s - parting.a_s))} s later in {later}"
