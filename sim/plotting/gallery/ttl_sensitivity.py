"""JCT against the time to live of pins: how much depends on the one parameter of a static policy."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

import pandas as pd

from continuum_sim.plotting.against import (
    band_note,
    draw_band,
    reference_level,
    scale_axis,
    top_of,
)
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.estimates import estimate_each
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import held_title, legend_above
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import COLUMN_IN, looks, new_figure
from continuum_sim.policies import PolicyError
from continuum_sim.setup.notation import parse_policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATISTICS: Final = ("mean", "p95")
_TTL: Final = re.compile(r"(?P<before>[:,])ttl=(?P<ttl>[^,]*),?")


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per family of policies, TTL and statistic; policies without the parameter have no TTL."""
    data, held = hold(data)
    cells = data.with_jct().assign(
        policy=[family(p) for p in data.cells["policy"]], ttl_s=[ttl(p) for p in data.cells["policy"]]
    )
    counts = cells.groupby("policy")["ttl_s"].nunique()
    swept = set(counts.index[counts >= 2])
    if not swept:
        raise MissingData(
            "needs a policy run with two values of its ttl or more, as in ttl-static:ttl=1, ttl-static:ttl=4"
        )
    # A policy that was run with only one TTL is drawn as a level, under its full name.
    cells["policy"] = cells["policy"].where(cells["policy"].isin(swept), data.cells["policy"])
    cells["ttl_s"] = cells["ttl_s"].where(cells["policy"].isin(swept))
    cells = cells.sort_values("ttl_s", kind="stable")
    parts = []
    for statistic in _STATISTICS:
        part = estimate_each(cells, ["policy", "ttl_s"], f"jct_{statistic}_s", drawn=data.drawn)
        part.insert(2, "statistic", statistic)
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True)
    return FigureTable(rows.rename(columns={"value": "jct_s", "low": "low_s", "high": "high_s"}), band_note(data), held)


def family(policy: str) -> str:
    """Return the policy's name without its TTL: `ttl-static` for `ttl-static:ttl=2`."""
    return _TTL.sub(lambda found: found["before"], policy).rstrip(":,")


def ttl(policy: str) -> float:
    """Return the TTL of a policy in seconds, the default if the name has none; NaN for a policy without one.

    For a policy that is not registered only the name is used: nothing named in results is imported.
    """
    try:
        value = getattr(parse_policy(policy, registered_only=True).retention, "ttl", math.nan)
    except (PolicyError, ValueError):
        stated = _TTL.search(policy)
        value = stated["ttl"] if stated else math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan


def draw(table: FigureTable) -> Figure:
    """Draw a line per family, and policies without a TTL as levels."""
    rows = table.rows
    figure = new_figure(COLUMN_IN, 0.85 + 1.35 * len(_STATISTICS))
    panels = figure.subplots(len(_STATISTICS), 1, sharex=True)
    look = looks(list(dict.fromkeys(rows["policy"])))
    for panel, statistic in zip(panels, _STATISTICS, strict=True):
        part = rows[rows["statistic"] == statistic]
        for policy, line in part.groupby("policy", sort=False):
            estimate = line[["jct_s", "low_s", "high_s"]]
            if line["ttl_s"].notna().all():
                draw_band(panel, line["ttl_s"], estimate, look[str(policy)], str(policy))
            else:
                reference_level(panel, estimate, look[str(policy)], str(policy))
        panel.set(ylabel=f"{statistic} JCT (s)", ylim=(0, top_of(part["jct_s"], part["high_s"])))
    scale_axis(panels[-1], sorted(set(rows["ttl_s"].dropna())))
    panels[-1].set_xlabel("time to live of pins (s)")
    panels[0].set_title(held_title(table.held))
    legend_above(figure, panels[0])
    return figure


FIGURE = FigureSpec(
    name="ttl-sensitivity",
    shows="Job completion time against the time to live of pins; dashed: policies that choose it or pin nothing",
    needs="a policy run with two values of its ttl or more (ttl-static:ttl=…)",
    tabulate=tabulate,
    draw=draw,
    place=100,
)
