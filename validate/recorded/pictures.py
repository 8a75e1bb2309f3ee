"""Two figures: simulated over recorded for every request with the distributions, and the engine over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from continuum_sim.plotting.style import BLACK, GREY, RED, new_figure, picture_bytes
from continuum_sim.traces.files import write_bytes
from continuum_sim.validate.recorded.compare import TITLES, Array, Sample, samples
from continuum_sim.validate.recorded.log import RecordedLog
from continuum_sim.validate.recorded.replay import Replay, gauges_at, in_system
from continuum_sim.validate.recorded.timeseries import EngineSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RECORDED: Final = BLACK
SIMULATED: Final = RED
_TIMES: Final = 600
"""Number of times drawn if the log has no series."""


def draw_requests(log: RecordedLog, simulated: Replay, tolerance: float, path: Path) -> None:
    """Draw simulated over recorded, one dot per request, and both distributions below."""
    found = samples(log, simulated)
    figure = new_figure(4.2 * len(found), 7.6)
    axes = figure.subplots(2, len(found), squeeze=False)
    for one, scatter, distribution in zip(found, axes[0], axes[1], strict=True):
        _scatter(scatter, one, tolerance)
        _distributions(distribution, one)
    write_bytes(path, picture_bytes(figure, "png", dpi=130))


def draw_engine(log: RecordedLog, simulated: Replay, series: EngineSeries | None, path: Path) -> None:
    """Draw requests in the system; also running, waiting and KV cache if the log has them."""
    end_s = max(log.end_s, simulated.end_s)
    at_s = np.linspace(0, end_s, _TIMES)
    made = gauges_at(simulated, at_s)
    rows: list[tuple[str, Array, tuple[Array, Array] | None]] = [
        ("requests in the system", in_system(simulated.requests, at_s), (at_s, in_system(log.requests, at_s))),
        ("running", made.running, None if series is None else (series.at_s, series.running)),
        ("waiting", made.waiting, None if series is None else (series.at_s, series.waiting)),
        ("KV cache in use (%)", 100 * made.kv_share, None if series is None else (series.at_s, 100 * series.kv_share)),
    ]
    figure = new_figure(10, 9)
    for axis, (title, drawn, real) in zip(figure.subplots(len(rows), 1, sharex=True), rows, strict=True):
        if real is not None:
            axis.plot(*real, color=RECORDED, lw=1.4, label="recorded")
        axis.plot(at_s, drawn, color=SIMULATED, lw=1.1, label="simulated")
        axis.set(ylabel=title, ylim=(0, None))
        axis.grid(alpha=0.3)
    figure.axes[0].legend(loc="upper right", fontsize="small")
    axis.set(xlabel="seconds since the first arrival", xlim=(0, end_s))
    write_bytes(path, picture_bytes(figure, "png", dpi=130))


def _scatter(axis: Axes, one: Sample, tolerance: float) -> None:
    scale, unit = _unit(one)
    top = 1.03 * scale * max(float(one.recorded.max()), float(one.simulated.max()))
    ends = np.array([0.0, top])
    axis.fill_between(ends, ends * (1 - tolerance), ends * (1 + tolerance), color=GREY, alpha=0.3, lw=0)
    axis.plot(ends, ends, color=GREY, lw=0.8)
    axis.plot(scale * one.recorded, scale * one.simulated, ".", ms=4, alpha=0.6, color=SIMULATED)
    axis.set(
        title=f"{TITLES[one.name]}: a dot a request, band ±{100 * tolerance:g} %",
        xlabel=f"recorded ({unit})",
        ylabel=f"simulated ({unit})",
        xlim=(0, top),
        ylim=(0, top),
    )
    axis.title.set_fontsize(10)


def _distributions(axis: Axes, one: Sample) -> None:
    scale, unit = _unit(one)
    share = np.arange(1, len(one.recorded) + 1) / len(one.recorded)
    for values, label, colour in ((one.recorded, "recorded", RECORDED), (one.simulated, "simulated", SIMULATED)):
        axis.step(scale * np.sort(values), 100 * share, where="post", color=colour, lw=1.3, label=label)
    axis.set(xlabel=f"{TITLES[one.name]} ({unit})", ylabel="requests at most that (%)", ylim=(0, 100))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize="small")


def _unit(one: Sample) -> tuple[float, str]:
    return (1e3, "ms") if one.name == "tpot" else (1.0, "s")
