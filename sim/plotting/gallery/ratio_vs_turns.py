"""JCT ratio against the number of turns: the longer a program, the more often its cache can be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.against import draw_band, one_line
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.estimates import in_order, interval_note, ratio_each
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import held_title, legend_above
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import looks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS: Final = 5
_TRACES: Final = frozenset({"trace", "trace_id", "max_turns", "repeat_turns"})
"""Settings that make programs longer or shorter."""


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy and mean number of turns.

    If runs differ in `repeat_turns`, `max_turns` or the trace, a point is a run. Otherwise it is the programs of a run
    with a similar number of turns, in five bins of equally many programs.
    """
    data, held = hold(data, shown=_TRACES)
    baseline = options.baseline_of(data.policies)
    if baseline not in data.policies or len(data.policies) < 2:
        raise MissingData(f"needs the baseline {baseline} and another policy; there are {', '.join(data.policies)}")
    cells = data.with_jct().assign(turns_each=data.cells["turns"] / data.cells["programs"])
    if cells["turns_each"].nunique() > 1:
        groups = cells.sort_values("turns_each", kind="stable")
        value, weights = "jct_mean_s", None
        note = "Each point is a workload. "
    else:
        groups, value, weights = _by_length(data), "jct_s", "programs"
        note = "Each point is a fifth of the programs, by number of turns, at the mean number. "
    table = ratio_each(groups, ["turns_each"], value, baseline, drawn=data.drawn, weights=weights)
    table = table[table["policy"] != baseline].rename(columns={"turns_each": "turns"})
    table.insert(2, "baseline", baseline)
    ratio = interval_note(drawn=data.drawn, of="ratio of mean JCTs")
    return FigureTable(in_order(table, data.policies), f"{note}Line and band: {ratio}", held)


def _by_length(data: FigureData) -> pd.DataFrame:
    """Return the mean JCT of every policy and seed over the programs of each bin of turn counts, and their number."""
    programs = data.table("programs", ["program", "turns", "jct_s"])
    lengths = np.sort(programs.drop_duplicates("program")["turns"].to_numpy())
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, _BINS + 1)[1:-1]))
    if lengths[0] == lengths[-1]:
        raise MissingData(f"needs programs of different numbers of turns; all have {lengths[0]}")
    programs["bin"] = np.searchsorted(edges, programs["turns"].to_numpy(), side="left")
    turns_each = programs.drop_duplicates("program").groupby("bin")["turns"].mean().rename("turns_each")
    groups = programs.groupby(["bin", "policy", "seed"], as_index=False)
    means = groups.agg(jct_s=("jct_s", "mean"), programs=("jct_s", "size"))
    joined: pd.DataFrame = means.join(turns_each, on="bin")
    return joined


def draw(table: FigureTable) -> Figure:
    """Draw a line per policy; below 1 is faster than the baseline."""
    rows = table.rows
    figure = new_figure()
    panel = figure.subplots()
    look = looks(list(dict.fromkeys(rows["policy"])))
    for policy, line in rows.groupby("policy", sort=False):
        draw_band(panel, line["turns"], line[["ratio", "low", "high"]], look[str(policy)], str(policy))
    one_line(panel)
    panel.set(
        xlabel="turns a program",
        ylabel=f"mean JCT / {rows['baseline'].iloc[0]}",
        ylim=(0, 1.08 * max(1.0, float(rows["ratio"].max()))),
        title=held_title(table.held),
    )
    panel.set_xlim(0, None)
    legend_above(figure, panel)
    return figure


FIGURE = FigureSpec(
    name="ratio-vs-turns",
    shows="Mean job completion time as a multiple of the baseline's, against a program's number of turns",
    needs="runs of two policies or more under the same seeds, with programs.parquet or several repeat_turns",
    tabulate=tabulate,
    draw=draw,
    place=80,
)
