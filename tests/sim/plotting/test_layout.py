"""Pictures fit for a page: legends that fit and read row by row, numbers as people write them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from continuum_sim.plotting.files import draw_table
from continuum_sim.plotting.gallery import wait_per_turn
from continuum_sim.plotting.marks import legend_above
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import new_figure

NOTHING = FigureTable(pd.DataFrame(), "")


def drawn(names: list[str], top: float = 1.0) -> Any:
    def draw(table: FigureTable) -> Any:
        figure = new_figure()
        panel = figure.subplots()
        for name in names:
            panel.plot([0, 0.208], [0, top], label=name)
        legend_above(figure, panel)
        return figure

    return draw_table(draw, NOTHING)


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["lru"], 1),
        (["lru", "program-fifo", "ttl-static", "ttl"], 1),
        (["fcfs", "lru", "program-fifo", "ttl-static", "ttl"], 1),
        (["fcfs", "lru", "program-fifo", "ttl-static", "ttl", "ttl:pressure=younger"], 2),
        (["a rather long name of a policy, its parameters and all", "lru", "ttl"], 3),
    ],
)
def test_a_legend_takes_as_few_rows_as_fit_and_reads_row_by_row(names: list[str], rows: int) -> None:
    figure = drawn(names)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    places = {
        text.get_text(): (-round(text.get_window_extent().y0), text.get_window_extent().x0) for text in legend.texts
    }
    assert sorted(places, key=lambda name: places[name]) == names
    assert len({row for row, _ in places.values()}) == rows
    assert box.y0 >= figure.axes[0].get_window_extent().y1, "it hides no data"


def test_numbers_at_axes_have_no_needless_digits_and_do_not_touch() -> None:
    (panel,) = drawn(["lru"], top=3000).axes
    assert [label.get_text() for label in panel.get_xticklabels() if 0 <= label.get_position()[0] <= 0.2] == [
        *("0", "0.05", "0.1", "0.15", "0.2")
    ]
    assert "1,000" in [label.get_text() for label in panel.get_yticklabels()]


def test_first_turns_that_wait_many_times_as_long_do_not_flatten_the_others() -> None:
    def axis(first_s: float) -> str:
        waits = [first_s, 2.0, 3.0, 2.5, 2.0]
        rows = pd.DataFrame({"policy": "lru", "turn": range(5), "wait_s": waits, "low_s": waits, "high_s": waits})
        return str(draw_table(wait_per_turn.draw, FigureTable(rows, "")).axes[0].get_yscale())

    assert (axis(5.0), axis(200.0)) == ("linear", "symlog")
