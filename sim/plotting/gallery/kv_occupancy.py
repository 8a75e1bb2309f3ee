"""KV cache over time by state: held by running turns, pinned for paused programs, reusable, empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import held_title, legend_above, wrapped
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import BLUE, COLUMN_IN, ORANGE, SKY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATES: Final = {"running": BLUE, "pinned": ORANGE, "cached": SKY, "free": "#eeeeee"}
_BINS: Final = 240
"""Equal stretches of time that a panel averages over: about one per printed dot."""
_MOST_PANELS: Final = 8
_PANEL_IN: Final = 0.95


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy and stretch of time: shares of the usable blocks, averaged over the stretch."""
    data, held = hold(data)
    data = data.where(data.cells["seed"] == data.cells["seed"].iloc[0])
    note = f"Shares of the KV blocks under seed {data.cells['seed'].iloc[0]}, averaged over {_BINS} stretches of time"
    if len(data.policies) > _MOST_PANELS:
        note += f"; the first {_MOST_PANELS} of {len(data.policies)} policies"
        data = data.reordered(range(_MOST_PANELS))
    columns = ["end_s", "free_blocks", "cached_blocks", "pinned_blocks"]
    timeline = data.table("timeline", columns, optional=["replica"])
    end_s = float(timeline["end_s"].max())
    usable = dict(zip(data.cells["policy"], data.cells["usable_blocks"], strict=True))
    parts = []
    for policy, rows in timeline.groupby("policy", sort=False):
        edges_s = np.linspace(0, end_s, _BINS + 1)
        until = int(np.searchsorted(edges_s, rows["end_s"].max()))  # other policies may take longer
        part = occupancy(rows, usable[str(policy)], edges_s[: until + 1])
        part.insert(0, "policy", policy)
        parts.append(part)
    return FigureTable(pd.concat(parts, ignore_index=True), note, held)


def occupancy(timeline: pd.DataFrame, usable_blocks: float, edges_s: np.ndarray) -> pd.DataFrame:
    """Average the states of the blocks over the stretches between `edges_s`, as shares of the usable blocks.

    A row of a timeline holds the blocks as of its end, after the turns that end there have released theirs; they are
    taken to stay so until the next row's end. Before the first row ends, all blocks count as free. The replicas of a
    cluster are summed.
    """
    replicas = [timeline] if "replica" not in timeline else [part for _, part in timeline.groupby("replica")]
    parts = []
    for rows in replicas:
        # Between turns nothing runs on a replica: all its blocks are then free or pinned.
        usable = usable_blocks if len(replicas) == 1 else float((rows["free_blocks"] + rows["pinned_blocks"]).max())
        parts.append(_block_seconds(rows, usable, edges_s))
    seconds = sum(parts[1:], parts[0])
    shares = seconds.div(seconds.sum(axis=1), axis=0).add_suffix("_share")
    shares.insert(0, "start_s", edges_s[:-1])
    shares.insert(1, "end_s", edges_s[1:])
    return shares


def _block_seconds(timeline: pd.DataFrame, usable_blocks: float, edges_s: np.ndarray) -> pd.DataFrame:
    free, pinned, cached = (
        np.append(first, timeline[f"{name}_blocks"].to_numpy(dtype=float))
        for name, first in (("free", usable_blocks), ("pinned", 0.0), ("cached", 0.0))
    )
    levels = {"running": usable_blocks - free - pinned, "pinned": pinned, "cached": cached, "free": free - cached}
    ends_s = timeline["end_s"].to_numpy()
    times_s = np.concatenate([[0.0], ends_s, [max(edges_s[-1], ends_s[-1])]])
    found = {}
    for state in _STATES:
        integral = np.append(0.0, np.cumsum(levels[state] * np.diff(times_s)))
        found[state] = np.diff(np.interp(edges_s, times_s, integral))
    return pd.DataFrame(found)


def draw(table: FigureTable) -> Figure:
    """Draw a panel per policy, over a common time axis."""
    policies = list(dict.fromkeys(table.rows["policy"]))
    figure = new_figure(COLUMN_IN, 0.75 + _PANEL_IN * len(policies))
    panels = figure.subplots(len(policies), 1, sharex=True, squeeze=False)[:, 0]
    for panel, policy in zip(panels, policies, strict=True):
        rows = table.rows[table.rows["policy"] == policy]
        edges_s = [*rows["start_s"], rows["end_s"].iloc[-1]]
        shares = [100 * np.append(rows[f"{state}_share"], rows[f"{state}_share"].iloc[-1]) for state in _STATES]
        panel.stackplot(edges_s, shares, colors=list(_STATES.values()), labels=list(_STATES), step="post", lw=0)
        panel.set(ylim=(0, 100), yticks=(0, 50, 100))
        panel.set_title(wrapped(policy, 60), loc="left", pad=2)
        panel.grid(visible=False)
    at = held_title(table.held)
    panels[-1].set(xlabel=f"time (s), at {at}" if at else "time (s)", xlim=(0, table.rows["end_s"].max()))
    figure.supylabel("KV blocks (%)", fontsize=8)
    legend_above(figure, panels[0])
    return figure


FIGURE = FigureSpec(
    name="kv-occupancy",
    shows="KV cache over time: held by running turns, pinned for programs whose tool runs, cached and free",
    needs="runs with their timeline.parquet",
    tabulate=tabulate,
    draw=draw,
    place=60,
)
