"""Figures as files: pictures, the CSV of the values shown, and an index with captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from continuum_sim.errors import ConfigError
from continuum_sim.plotting.marks import tidy_ticks
from continuum_sim.plotting.names import texts_as_they_are
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import FORMATS, picture_bytes, styled
from continuum_sim.results.jsonfile import to_json
from continuum_sim.traces.files import write_bytes, write_text
from continuum_sim.traces.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INDEX: Final = "figures.json"
DEFAULT_FORMATS: Final = ("pdf", "png")


@dataclass(frozen=True)
class DrawnFigure:
    """A figure that was written."""

    name: str
    caption: str
    files: tuple[Path, ...]
    """Pictures, and the CSV of the values shown."""


@dataclass(frozen=True)
class SkippedFigure:
    """A figure that the data do not allow."""

    name: str
    missing: str


@dataclass(frozen=True)
class FiguresResult:
    """The figures drawn and those skipped."""

    directory: Path
    drawn: tuple[DrawnFigure, ...]
    skipped: tuple[SkippedFigure, ...]


def check_formats(formats: Sequence[str]) -> None:
    """Refuse an unsupported picture format.

    Raises
    ------
    ConfigError
        Naming the format.
    """
    if not formats:
        raise ConfigError(f"no format given, expected some of {', '.join(FORMATS)}")
    for kind in formats:
        if kind not in FORMATS:
            raise ConfigError(f"unknown format {kind!r}, expected some of {', '.join(FORMATS)}")


def draw_table(draw: Callable[[FigureTable], Figure], table: FigureTable) -> Figure:
    """Draw a table in the style of this package."""
    with styled():
        picture = draw(table)
        texts_as_they_are(picture)  # also in a user's own figures
        picture.canvas.draw()  # settles the layout of panels
        tidy_ticks(picture)
        picture.canvas.draw()  # ticks and their labels take the style when they are created
    return picture


def write_figure(
    directory: Path,
    name: str,
    caption: str,
    table: FigureTable,
    draw: Callable[[FigureTable], Figure],
    formats: Sequence[str],
) -> DrawnFigure:
    """Write one figure in every format, and its table, each file whole or not at all."""
    picture = draw_table(draw, table)
    with styled():
        contents = {kind: picture_bytes(picture, kind) for kind in dict.fromkeys(formats)}
    contents["csv"] = csv_of(table.rows)
    directory.mkdir(parents=True, exist_ok=True)
    files = tuple(directory / f"{name}.{kind}" for kind in contents)
    for path, content in zip(files, contents.values(), strict=True):
        write_bytes(path, content)
    return DrawnFigure(name, caption, files)


def write_index(result: FiguresResult) -> None:
    """Write `figures.json`: the caption and files of each figure, and what the others lack."""
    write_text(result.directory / INDEX, to_json(plain(result, lambda path: path.name)))


def plain(result: FiguresResult, shown: Callable[[Path], str] = str) -> dict[str, object]:
    """Return a result as JSON can hold it; `shown` formats paths."""
    return {
        "figures": [
            {"name": one.name, "caption": one.caption, "files": [shown(path) for path in one.files]}
            for one in result.drawn
        ],
        "skipped": [{"name": one.name, "missing": one.missing} for one in result.skipped],
    }


_FORMULA: Final = tuple("=+-@＝＋－＠")
"""Characters that spreadsheets take for the start of a formula (OWASP, "CSV Injection"); tab and CR are escaped."""


def csv_of(rows: pd.DataFrame) -> bytes:
    """Return a table as CSV; an apostrophe precedes text that a spreadsheet would execute, numbers stay as they are."""
    columns = {
        at: column.map(_cell) for at, (_, column) in enumerate(rows.items()) if column.dtype.kind not in "biufcM"
    }
    safe = pd.DataFrame({at: columns.get(at, rows.iloc[:, at]) for at in range(rows.shape[1])}, index=rows.index)
    return safe.to_csv(index=False, header=[str(_cell(str(name))) for name in rows], lineterminator="\n").encode()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)  # keeps a row on one line
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
