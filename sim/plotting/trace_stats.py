"""Pictures of a trace: turns, contexts, outputs, gaps of each tool, reuse, and concurrent programs."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.errors import ConfigError
from continuum_sim.plotting.files import (
    DEFAULT_FORMATS,
    DrawnFigure,
    FiguresResult,
    SkippedFigure,
    check_formats,
    write_figure,
    write_index,
)
from continuum_sim.plotting.marks import legend_above
from continuum_sim.plotting.names import label
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import BAND_ALPHA, BLUE, looks, new_figure
from continuum_sim.traces.schema import Program

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POINTS: Final = 400
"""Most points of a curve: more cannot be distinguished in print."""
_MOST_STEPS: Final = 1600
_MOST_TOOLS: Final = 6
_OTHERS: Final = "others"


def _array() -> array[float]:
    return array("d")


def _arrays() -> defaultdict[str, array[float]]:
    return defaultdict(_array)


@dataclass(slots=True)
class _Sample:
    """The numbers of a trace, eight bytes each; sub-agents count as programs of their own."""

    turns: array[float] = field(default_factory=_array)
    contexts: defaultdict[str, array[float]] = field(default_factory=_arrays)
    tokens: defaultdict[str, array[float]] = field(default_factory=_arrays)
    gaps_s: defaultdict[str, array[float]] = field(default_factory=_arrays)
    kept_share: list[array[float]] = field(default_factory=list)
    spans_s: list[tuple[float, float]] = field(default_factory=list)
    timed: bool = True

    def add(self, program: Program) -> None:
        if program.arrival_s is None:
            self.timed = False
        elif self.timed:
            gaps_s = sum(turn.tool_s for turn in program.turns)
            self.spans_s.append((program.arrival_s, program.arrival_s + gaps_s))
        for member in program.family():
            self._add(member)

    def _add(self, program: Program) -> None:
        turns = program.turns
        self.turns.append(len(turns))
        self.contexts["final"].append(turns[-1].context_tokens)
        self.contexts["largest"].append(program.max_context_tokens)
        while len(self.kept_share) < len(turns):
            self.kept_share.append(_array())
        for index, turn in enumerate(turns):
            self.contexts["each turn"].append(turn.context_tokens)
            self.tokens["output"].append(turn.output_tokens)
            if index:
                self.tokens["new prompt"].append(turn.new_tokens)
            self.kept_share[index].append(turn.kept_tokens / turn.input_tokens)
            for call in turn.calls:
                self.gaps_s[call.tool].append(call.tool_s)


def draw_trace(
    programs: Iterable[Program], directory: Path, *, formats: Sequence[str] = DEFAULT_FORMATS
) -> FiguresResult:
    """Draw a trace into a directory: pictures, the CSV of the values shown, and an index with captions.

    The pictures are `turns`, `contexts`, `tokens`, `gaps`, `reuse` and, if every program has an arrival time,
    `concurrency`.

    Raises
    ------
    ConfigError
        For an unsupported format, or a trace without programs.
    OSError
        If a file cannot be written.
    """
    check_formats(formats)
    sample = _Sample()
    for program in programs:
        sample.add(program)
    if not sample.turns:
        raise ConfigError("no program to draw, expected at least one")
    curves = {
        "turns": ("Turns of a program", "turns", "programs", {"": sample.turns}),
        "contexts": ("Tokens in the context, prompt and output", "tokens", "share", sample.contexts),
        "tokens": ("Output and new prompt tokens of a turn", "tokens", "turns", sample.tokens),
        "gaps": ("Seconds of a tool call, the most called tools", "seconds", "calls", _most_called(sample.gaps_s)),
    }
    drawn: list[DrawnFigure] = []
    skipped: list[SkippedFigure] = []
    for name, (caption, axis, of, samples) in curves.items():
        if not any(samples.values()):
            skipped.append(SkippedFigure(name, "needs programs of several turns"))
            continue
        table = _curves(samples, axis, of)
        drawn.append(write_figure(directory, name, _caption(caption, table), table, _draw_curves, formats))
    if len(sample.kept_share) > 1:
        table = _reuse(sample.kept_share)
        caption = "Share of a prompt that the turn before left behind"
        drawn.append(write_figure(directory, "reuse", _caption(caption, table), table, _draw_reuse, formats))
    else:
        skipped.append(SkippedFigure("reuse", "needs programs of several turns"))
    if sample.timed:
        table = _concurrency(sample.spans_s)
        caption = "Programs there at once, if serving took no time"
        drawn.append(write_figure(directory, "concurrency", _caption(caption, table), table, _draw_steps, formats))
    else:
        skipped.append(SkippedFigure("concurrency", "needs arrival times"))
    result = FiguresResult(directory, tuple(drawn), tuple(skipped))
    write_index(result)
    return result


def _caption(shows: str, table: FigureTable) -> str:
    return f"{shows}. {table.note}."


def _most_called(gaps_s: dict[str, array[float]]) -> dict[str, array[float]]:
    names = sorted(gaps_s, key=lambda name: (-len(gaps_s[name]), name))
    kept = {name: gaps_s[name] for name in names[:_MOST_TOOLS]}
    rest = names[_MOST_TOOLS:]
    if rest:
        kept[f"{len(rest)} {_OTHERS}"] = array("d", (value for name in rest for value in gaps_s[name]))
    return kept


def _curves(samples: dict[str, array[float]], axis: str, of: str) -> FigureTable:
    """Return distribution functions: the share of a sample that is at most a value."""
    parts = []
    for name, values in samples.items():
        ordered = np.sort(np.asarray(values))
        points = np.unique(ordered)
        if len(points) > _MOST_POINTS:
            points = points[np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int)]
        shares = np.searchsorted(ordered, points, side="right") / len(ordered)
        parts.append(pd.DataFrame({"curve": name, axis: points, "share": shares}))
    note = f"Curves: share of {of if of != 'share' else 'programs or turns'} that have at most so many {axis}"
    return FigureTable(pd.concat(parts, ignore_index=True), note)


def _draw_curves(table: FigureTable) -> Figure:
    figure = new_figure()
    panel = figure.subplots()
    rows = table.rows
    axis = str(rows.columns[1])
    look = looks(list(dict.fromkeys(rows["curve"])))
    for name, curve in rows.groupby("curve", sort=False):
        one = look[str(name)]
        shares = 100 * curve["share"]
        panel.step(curve[axis], shares, where="post", color=one.colour, linestyle=one.line, label=label(str(name)))
    positive = rows[axis][rows[axis] > 0]
    if len(positive) and positive.max() > 50 * positive.min():
        panel.set_xscale("symlog", linthresh=float(positive.min()))
    panel.set(xlabel=axis, ylabel="at most that (%)", ylim=(0, 100))
    if len(look) > 1:
        legend_above(figure, panel)
    return figure


def _reuse(kept_share: list[array[float]]) -> FigureTable:
    rows = []
    for index, shares in enumerate(kept_share[1:], start=1):
        p10, p50, p90 = np.quantile(np.asarray(shares), [0.1, 0.5, 0.9]).tolist()
        rows.append((index + 1, len(shares), p10, p50, p90))
    frame = pd.DataFrame(rows, columns=["turn", "programs", "p10", "p50", "p90"])
    return FigureTable(frame, "Line: median over the programs that get so far; band: from their 10 % to 90 % quantile")


def _draw_reuse(table: FigureTable) -> Figure:
    figure = new_figure()
    panel = figure.subplots()
    rows = table.rows
    panel.fill_between(rows["turn"], 100 * rows["p10"], 100 * rows["p90"], color=BLUE, alpha=BAND_ALPHA, linewidth=0)
    panel.plot(rows["turn"], 100 * rows["p50"], color=BLUE)
    panel.set(xlabel="turn", ylabel="prompt kept from the turn before (%)", ylim=(0, 100))
    return figure


def _concurrency(spans_s: list[tuple[float, float]]) -> FigureTable:
    """Count programs from their arrival to the end of their last gap."""
    changes = sorted([(start, 1) for start, _ in spans_s] + [(end, -1) for _, end in spans_s])
    frame = pd.DataFrame(list(_running(changes)), columns=["time_s", "programs"])
    if len(frame) > _MOST_STEPS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, _MOST_STEPS).round().astype(int)]
    return FigureTable(frame, "From a program's arrival to the end of its last gap: the least that any engine will see")


def _running(changes: list[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    count = 0
    for place, (time_s, change) in enumerate(changes):
        count += change
        if place + 1 == len(changes) or changes[place + 1][0] != time_s:
            yield time_s, count


def _draw_steps(table: FigureTable) -> Figure:
    figure = new_figure()
    panel = figure.subplots()
    panel.step(table.rows["time_s"], table.rows["programs"], where="post", color=BLUE)
    panel.set(xlabel="time (s)", ylabel="programs there", ylim=(0, None))
    return figure
