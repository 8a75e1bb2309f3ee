"""Entry points: one figure for a notebook, all figures into a directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

from continuum_sim.errors import ConfigError
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.files import (
    DEFAULT_FORMATS,
    DrawnFigure,
    FiguresResult,
    SkippedFigure,
    check_formats,
    draw_table,
    write_figure,
    write_index,
)
from continuum_sim.plotting.held import select
from continuum_sim.plotting.load import Drawable, load
from continuum_sim.plotting.marks import held_title, setting_of
from continuum_sim.plotting.registry import find_figures
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER: Final = "figures"
"""Default folder for figures inside a directory of results."""

Where = Mapping[str, str | float | Sequence[str | float]]


def figure(
    name: str,
    data: Drawable | Iterable[Drawable],
    *,
    where: Where | None = None,
    baseline: str | None = None,
) -> Figure:
    """Draw one figure and return it; a notebook shows it, `.savefig` writes it.

    Parameters
    ----------
    name
        Name of a figure, see `continuum-sim figures --list`.
    data, where, baseline
        As for `figures`.

    Raises
    ------
    ConfigError
        For an unknown name, directory or setting, or insufficient data.
    """
    (spec,) = find_figures([name])
    options = FigureOptions(baseline)
    try:
        table = spec.take(select(load(data), _texts(where)), options)
    except MissingData as missing:
        raise ConfigError(f"figure {name}: {missing}") from None
    return draw_table(spec.draw, table)


def figures(
    data: Drawable | Iterable[Drawable],
    *,
    only: Sequence[str] | None = None,
    out: str | PathLike[str] | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    where: Where | None = None,
    baseline: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> FiguresResult:
    """Write every figure that the data allow, each as pictures and as a CSV of the values shown.

    The same data give the same bytes (with the same version of matplotlib).

    Parameters
    ----------
    data
        A run, a comparison or a sweep: its directory, or the result itself; or several.
    only
        Names of figures; all of them if None.
    out
        Directory to write to. If None, `figures` inside `data`, which must then be one directory.
    formats
        Any of `pdf`, `png`, `svg`.
    where
        Setting -> value or values: draw only runs that have one of them.
    baseline
        Policy that ratios compare with; if None, `lru` if it was run, otherwise the first.
    progress
        Called with the name of each figure before it is drawn.

    Raises
    ------
    ConfigError
        For an unknown name, directory, setting or format.
    OSError
        If `out` cannot be written.
    """
    options = FigureOptions(baseline)
    check_formats(formats)
    specs = find_figures(None if only is None else list(only))
    directory = _place(data, out)
    found = select(load(data), _texts(where))
    if baseline is not None and baseline not in found.policies:
        raise ConfigError(f"baseline {baseline!r} is not one of the policies run: {', '.join(found.policies)}")
    drawn: list[DrawnFigure] = []
    skipped: list[SkippedFigure] = []
    for spec in specs:
        if progress is not None:
            progress(spec.name)
        try:
            table = spec.take(found, options)
        except MissingData as missing:
            skipped.append(SkippedFigure(spec.name, str(missing)))
            continue
        drawn.append(write_figure(directory, spec.name, caption(spec, table, found), table, spec.draw, formats))
    result = FiguresResult(directory, tuple(drawn), tuple(skipped))
    if drawn:
        write_index(result)
    return result


def caption(spec: FigureSpec, table: FigureTable, data: FigureData) -> str:
    """Return a caption: what a picture shows, what its numbers are and what was run."""
    at = held_title(table.held)
    sentences = [spec.shows, table.note, f"{setting_of(data.cells)}{'; here ' + at if at else ''}"]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _texts(where: Where | None) -> dict[str, list[str]]:
    return {
        name: [str(value) for value in ([wanted] if isinstance(wanted, str | float | int) else wanted)]
        for name, wanted in (where or {}).items()
    }


def _place(data: Drawable | Iterable[Drawable], out: str | PathLike[str] | None) -> Path:
    if out is not None:
        return Path(out)
    parts = [data] if isinstance(data, str | PathLike) else data
    if isinstance(parts, list | tuple) and len(parts) == 1 and isinstance(parts[0], str | PathLike):
        return Path(parts[0]) / FOLDER
    raise ConfigError("nowhere to write to: give out=… (--out DIR) if the data are not one directory")
