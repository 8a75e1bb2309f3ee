"""Figure 8: the gain over the baselines, for models, GPUs, workloads and rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pandas as pd

from continuum_sim.hardware.splits import GPU_COUNTS
from continuum_sim.plotting.against import draw_band, one_line, scale_axis
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.estimates import in_order, interval_note, ratio_each
from continuum_sim.plotting.marks import legend_above
from continuum_sim.plotting.paper.figure import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import COLUMN_IN, GREY, looks, new_figure
from continuum_sim.published import find_published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCENARIOS: Final = (
    "continuum-fig08-swe-8b",
    "continuum-fig08-swe-70b",
    "continuum-fig08-swe-gemma",
    "continuum-fig08-bfcl-8b",
)
_POLICY: Final = "ttl"


@dataclass(frozen=True)
class _Gain:
    """A published ratio, and how ours is computed."""

    quantity: str
    """Name of the ratio in the published points."""
    column: str
    inverted: bool
    """Whether the ratio is policy over baseline; either way, larger is better."""


_DELAY: Final = _Gain("jct_ratio", "jct_mean_s", inverted=False)
_THROUGHPUT: Final = _Gain("throughput_ratio", "programs_per_s", inverted=True)


def tabulate(cells: Mapping[str, FigureData], gain: _Gain) -> FigureTable:
    """Return one row per scenario, baseline and rate, with the published range in the last columns."""
    figure = find_published("fig08-range")
    published = {point.series: point.value for point in figure.points if point.quantity == gain.quantity}
    parts = []
    for name, data in cells.items():
        ordered = data.with_jct().sort_values("rate", kind="stable")
        part = ratio_each(ordered, ["rate"], gain.column, _POLICY, drawn=data.drawn)
        part = in_order(part[part["policy"] != _POLICY], data.policies).rename(columns={"policy": "baseline"})
        if gain.inverted:
            part[["ratio", "low", "high"]] = 1 / part[["ratio", "high", "low"]].to_numpy()
        part.insert(0, "scenario", name)
        part.insert(1, "workload", workload(data))
        part["published_low"] = published["least gain"]
        part["published_high"] = published["largest gain"]
        parts.append(part)
    compared = f"{_POLICY} over baseline" if gain.inverted else f"Baseline over {_POLICY}"
    note = (
        f"{compared}: {interval_note(drawn=all(data.drawn for data in cells.values()), of='ratio')}. "
        f"Shaded: the published range of gains, over all panels ({figure.source})"
    )
    return FigureTable(pd.concat(parts, ignore_index=True), note)


def workload(data: FigureData) -> str:
    """Return trace, GPU and model as two lines of text."""
    first = data.cells.iloc[0]
    gpus = math.prod(int(first[name]) for name in GPU_COUNTS if name in first)
    gpu = f"{gpus} {first['gpu']}" if gpus > 1 else str(first["gpu"])
    return f"{str(first['trace']).removesuffix('.jsonl')}, {gpu}\n{first['model']}"


def _panels(table: FigureTable, label: str, compared: str) -> Figure:
    """Draw a panel per scenario: the gain over each baseline; `compared` names a curve from baseline and policy."""
    rows = table.rows
    names = list(dict.fromkeys(rows["scenario"]))
    figure = new_figure(COLUMN_IN, 0.6 + 1.55 * ((len(names) + 1) // 2))
    panels = figure.subplots((len(names) + 1) // 2, 2, squeeze=False, sharey=True).flat
    look = looks(list(dict.fromkeys(rows["baseline"])))
    top = 1.1 * max(float(rows["ratio"].max()), float(rows["published_high"].max()))
    for panel, name in zip(panels, [*names, *[None] * (len(names) % 2)], strict=True):
        if name is None:
            panel.set_axis_off()
            continue
        part = rows[rows["scenario"] == name]
        panel.axhspan(
            part["published_low"].iloc[0], part["published_high"].iloc[0], color=GREY, alpha=0.25, lw=0,
            label="published range",
        )  # fmt: skip
        for baseline, line in part.groupby("baseline", sort=False):
            estimate = line[["ratio", "low", "high"]]
            draw_band(panel, line["rate"], estimate, look[str(baseline)], compared.format(baseline, _POLICY))
        one_line(panel)
        scale_axis(panel, sorted(set(part["rate"])))
        panel.set_ylim(0, top)
        panel.set_title(part["workload"].iloc[0], size=6.5)
        panel.set_xlabel("programs/s")
    figure.supylabel(label, fontsize=8)
    legend_above(figure, figure.axes[0])
    return figure


DELAY: Final = PaperFigure(
    name="paper-fig08",
    shows="Speedup over the baselines (Figure 8)",
    scenarios=_SCENARIOS,
    tabulate=partial(tabulate, gain=_DELAY),
    draw=partial(_panels, label=f"mean JCT, as a multiple of {_POLICY}'s", compared="{0} / {1}"),
)
THROUGHPUT: Final = PaperFigure(
    name="paper-fig08-throughput",
    shows="Throughput relative to the baselines (Figure 8)",
    scenarios=_SCENARIOS,
    tabulate=partial(tabulate, gain=_THROUGHPUT),
    draw=partial(_panels, label="programs/s, as a multiple of the baseline's", compared="{1} / {0}"),
)
