"""The loads that the paper's policies sustain on its engines: a steady state, where its figures are transients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.data import CAPACITY_RATES, FigureData
from continuum_sim.plotting.marks import bar_height, name_bars
from continuum_sim.plotting.paper.figure import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import BLUE, COLUMN_IN, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCENARIOS: Final = {
    "continuum-fig16-swe": "Figure 16, SWE-Bench",
    "continuum-fig16-bfcl": "Figure 16, BFCL",
    "continuum-fig10-swe": "Figure 10, with a DRAM tier",
    "continuum-public-code": "Public code",
}
_VALUE_SIZE: Final = 6
_ROOM: Final = 1.5
"""Width of a panel as a multiple of the longest bar, with room for the values after the bars."""


def tabulate(cells: Mapping[str, FigureData]) -> FigureTable:
    """Return one row per scenario and policy: the load it sustains, and the load it holds from an empty engine."""
    parts = []
    for scenario, title in _SCENARIOS.items():
        rows = cells[scenario].cells.drop_duplicates("policy")[["policy", *CAPACITY_RATES[:2]]]
        rows = rows.set_axis(["policy", "sustained_per_s", "from_empty_per_s"], axis=1).fillna(0.0)
        rows["ratio"] = rows["sustained_per_s"] / rows["sustained_per_s"].iloc[0]
        rows.insert(0, "scenario", scenario)
        rows.insert(1, "title", title)
        parts.append(rows)
    note = (
        "Steady state, where the paper's figures are transients. Full bars: the largest load that a policy sustains, "
        "bursts included; hatched: loads that hold only from an empty engine; in brackets the multiple of the first. "
        "As predicted from the service curve (`capacity --quick`); none of this is published"
    )
    return FigureTable(pd.concat(parts, ignore_index=True), note)


def draw(table: FigureTable) -> Figure:
    """Draw a panel per scenario and a bar per policy."""
    groups = list(table.rows.groupby("title", sort=False))
    heights = [bar_height(len(part)) for _, part in groups]
    figure = new_figure(COLUMN_IN, sum(heights))
    panels = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, (title, part) in zip(panels, groups, strict=True):
        at = np.arange(len(part))
        beyond = (part["from_empty_per_s"] - part["sustained_per_s"]).clip(lower=0)
        panel.barh(at, part["sustained_per_s"], 0.6, color=BLUE)
        panel.barh(at, beyond, 0.6, left=part["sustained_per_s"], color="white", edgecolor=BLUE, hatch="////")
        ends = part[["sustained_per_s", "from_empty_per_s"]].max(axis=1)
        for place, (end, row) in enumerate(zip(ends, part.itertuples(index=False), strict=True)):
            panel.text(end, place, f"  {row.sustained_per_s:#.3g} ({row.ratio:.2f})", va="center", size=_VALUE_SIZE)
        panel.set(xlim=(0, _ROOM * ends.max()), title=str(title))
        name_bars(panel, list(part["policy"]))
    panels[-1].set_xlabel("load (programs/s)")
    return figure


FIGURE: Final = PaperFigure(
    name="paper-steady",
    shows="What the policies of Figures 10 and 16 and of the public code sustain",
    scenarios=tuple(_SCENARIOS),
    tabulate=tabulate,
    draw=draw,
    sustained=True,
)
