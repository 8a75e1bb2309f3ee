"""Draw the README's picture: mean JCT against load for six policies, from simulations alone.

Run it from the root of the repository: ``python docs/readme_figure.py`` (some four minutes on one core).
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import continuum_sim as cs
from continuum_sim.plotting import FigureTable, load
from continuum_sim.plotting.against import draw_band, jct_against
from continuum_sim.plotting.files import draw_table
from continuum_sim.plotting.style import looks, new_figure, picture_bytes, styled

POLICIES = ("fcfs", "lru", "program-fifo", "ttl-static", "ttl", "ttl:pressure=younger")
RATES = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
SEEDS = range(5)


def draw(table: FigureTable) -> Figure:
    """Draw a line with its band a policy."""
    figure = new_figure(5.0, 2.8)
    panel = figure.subplots()
    look = looks(POLICIES)
    for policy, line in table.rows.groupby("policy", sort=False):
        draw_band(panel, line["rate"], line[["jct_s", "low_s", "high_s"]], look[policy], policy)
    panel.set(
        xlabel="load (programs/s)",
        ylabel="mean job completion time (s)",
        title="100 SWE-bench agents, Llama-3.1-8B on one A100-80",
        xlim=(0, None),
        ylim=(0, None),
    )
    panel.legend()
    return figure


def main() -> None:
    """Write docs/img/readme.png."""
    result = cs.sweep(POLICIES, rates=RATES, seeds=SEEDS, trace="swebench.jsonl")
    table = jct_against(load(result), "rate", ("mean",), what="the load")
    for rate, rows in table.rows.groupby("rate"):
        print(f"{rate:5g} programs/s   " + "   ".join(f"{row.policy} {row.jct_s:,.0f} s" for row in rows.itertuples()))
    figure = draw_table(draw, table)
    target = Path(__file__).parent / "img" / "readme.png"
    with styled():
        target.write_bytes(picture_bytes(figure, "png", dpi=230))
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
