"""Figure 12: routers and policies on several engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.estimates import interval_note, ratio_each
from continuum_sim.plotting.marks import bar_height, legend_above, name_bars
from continuum_sim.plotting.paper.figure import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import BLACK, COLUMN_IN, GREY, looks, new_figure
from continuum_sim.published import find_published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCENARIO: Final = "continuum-fig12-cluster"
_POLICY, _ROUTER = "ttl", "session-affinity"
"""The published system, to which every value is relative."""


def tabulate(cells: Mapping[str, FigureData]) -> FigureTable:
    """Return one row per router and policy: mean JCT relative to the published system's, and the largest gain."""
    data = cells[_SCENARIO]
    pairs = data.cells[["router", "policy"]].drop_duplicates()
    if not ((pairs["router"] == _ROUTER) & (pairs["policy"] == _POLICY)).any():
        raise MissingData(f"needs {_POLICY} behind {_ROUTER} in the scenario {_SCENARIO}")
    both = data.with_jct().assign(policy=data.cells["router"] + "\n" + data.cells["policy"])
    rows = ratio_each(both, [], "jct_mean_s", f"{_ROUTER}\n{_POLICY}", drawn=data.drawn)
    rows[["router", "policy"]] = rows["policy"].str.split("\n", expand=True)
    figure = find_published("fig08-range")
    (largest,) = (point for point in figure.points if "real SWE agent" in point.series)
    rows["published_largest"] = largest.value
    said = interval_note(drawn=data.drawn)
    note = (
        f"Mean JCT over that of {_POLICY} behind {_ROUTER}; {said}. Only the largest gain "
        f"is published ({figure.source}), over systems that are not simulated: SGLang with cache-aware routing, and "
        "Dynamo with disaggregated prefill and decode"
    )
    return FigureTable(rows[["router", "policy", "ratio", "low", "high", "seeds", "published_largest"]], note)


def draw(table: FigureTable) -> Figure:
    """Draw a bar per router and policy, and the largest published gain as a level."""
    rows = table.rows
    figure = new_figure(COLUMN_IN, bar_height(len(rows), each_in=0.36))
    panel = figure.subplots()
    look = looks(list(dict.fromkeys(rows["policy"])))
    colours = [look[policy].colour for policy in rows["policy"]]
    ends = np.array([rows["ratio"] - rows["low"], rows["high"] - rows["ratio"]])
    whiskers = {"elinewidth": 0.8, "capsize": 1.5, "ecolor": BLACK}
    panel.barh(range(len(rows)), rows["ratio"], 0.62, color=colours, xerr=ends, error_kw=whiskers)
    largest = float(rows["published_largest"].iloc[0])
    panel.axvline(largest, color=GREY, ls="--", lw=1, label=f"largest gain published ({largest:g})")
    panel.axvline(1, color=BLACK, lw=0.8)
    for number, row in enumerate(rows.to_dict("records")):
        panel.text(np.nanmax([row["ratio"], row["high"]]), number, f"  {row['ratio']:.2f}", va="center", size=6)
    name_bars(panel, [f"{row.router}\n{row.policy}" for row in rows.itertuples()])
    panel.set(xlabel="mean JCT, as a multiple of the last one's", xlim=(0, 1.08 * largest))
    legend_above(figure, panel)
    return figure


FIGURE = PaperFigure(
    name="paper-fig12",
    shows="Routers and policies on two engines (Figure 12)",
    scenarios=(_SCENARIO,),
    tabulate=tabulate,
    draw=draw,
)
