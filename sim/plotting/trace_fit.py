"""A picture of a fit: the times of each tool, as recorded and as fitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.plotting.names import label
from continuum_sim.plotting.style import BLACK, BLUE, COLUMN_IN, FORMATS, ORANGE, new_figure, picture_bytes, styled
from continuum_sim.traces.fit.quantiles import LEVELS
from continuum_sim.traces.write import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from continuum_sim.traces.fit import GapFit, TraceFit

_TOOLS: Final = 6
_COLUMNS: Final = 3


def check_picture(path: Path) -> None:
    """Refuse a file name without the suffix of a picture format.

    Raises
    ------
    ConfigError
        Naming the file.
    """
    if path.suffix[1:] not in FORMATS:
        raise ConfigError(f"picture {str(path)!r} has no format, expected a name that ends in .{', .'.join(FORMATS)}")


def write_fit_picture(fit: TraceFit, path: Path) -> None:
    """Draw the six most called tools into a file, written whole or not at all.

    Raises
    ------
    ConfigError
        If the name has no picture format, or the fit has no tool times.
    OSError
        If the file cannot be written.
    """
    check_picture(path)
    with styled():
        content = picture_bytes(draw_fit(fit), path.suffix[1:])
    with replacing(path) as stream:
        stream.write(content)


def draw_fit(fit: TraceFit) -> Figure:
    """Draw the distribution functions of the six most called tools: recorded, log-normal, mixture.

    Raises
    ------
    ConfigError
        If the fit has no tool times.
    """
    gaps = [(name, tool.gap_s) for name, tool in fit.tools.items() if tool.gap_s is not None][:_TOOLS]
    if not gaps:
        raise ConfigError("no tool is called often enough for a picture of its times")
    columns = min(_COLUMNS, len(gaps))
    rows = -(-len(gaps) // columns)
    figure = new_figure(COLUMN_IN * columns / 1.5, 1.9 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (name, gap) in zip(axes.flat, gaps, strict=False):
        _draw_tool(axis, name, gap)
    for axis in axes.flat[len(gaps) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("share of calls")
    axes.flat[0].legend(loc="upper left")
    return figure


def _draw_tool(axis: Axes, name: str, gap: GapFit) -> None:
    from matplotlib.ticker import NullFormatter
    from scipy.special import ndtr

    values = np.maximum(gap.empirical.values, 1e-6)
    axis.plot(values, LEVELS, color=BLACK, label="recorded")
    times_s = np.geomspace(values[0], max(values[-1], values[0] * 1.01), 200)
    logs = np.log(times_s)
    positive = 1 - gap.zero_share
    if gap.lognormal is not None:
        one = gap.lognormal
        levels = gap.zero_share + positive * ndtr((logs - one.mu) / one.sigma)
        axis.plot(times_s, levels, color=ORANGE, linestyle="--", label="log-normal")
    if gap.mixture is not None:
        two = gap.mixture
        fast, slow = ndtr((logs - two.mu) / two.sigma), ndtr((logs - two.slow_mu) / two.slow_sigma)
        levels = gap.zero_share + positive * (two.weight * fast + (1 - two.weight) * slow)
        axis.plot(times_s, levels, color=BLUE, linestyle=":", label="two log-normals")
    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(0, 1)
    axis.set_xlabel("seconds")
    axis.set_title(label(f"{name} ({gap.calls:,} calls)", 28))
