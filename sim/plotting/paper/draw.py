"""The entry point: run what the paper's figures need, and draw them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.names import check_names
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.files import (
    DEFAULT_FORMATS,
    DrawnFigure,
    FiguresResult,
    SkippedFigure,
    check_formats,
    write_figure,
    write_index,
)
from continuum_sim.plotting.marks import lasting, setting_of
from continuum_sim.plotting.paper.catalogue import PAPER_FIGURES
from continuum_sim.plotting.paper.cells import run_capacity_of, run_scenario
from continuum_sim.plotting.paper.figure import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.scenarios import find_scenario

CELLS: Final = "cells"


def paper_figures(
    out: str | PathLike[str],
    *,
    only: Sequence[str] | None = None,
    quick: bool = False,
    formats: Sequence[str] = DEFAULT_FORMATS,
    jobs: int = -1,
    progress: Callable[[str], None] | None = None,
) -> FiguresResult:
    """Reproduce the figures of the Continuum paper, with its published values drawn next to ours.

    Cells are run as resumable sweeps under `out/cells`. The paper's traces are not public: compare ratios, not seconds.

    Parameters
    ----------
    out
        Directory to write to.
    only
        Names of figures (`paper-fig16-swe`); all of them if None.
    quick
        Whether to take only two seeds instead of five, and three values per axis.
    formats
        Any of `pdf`, `png`, `svg`.
    jobs
        Processes to simulate on; -1 is one per core.
    progress
        Called with what is being done.

    Raises
    ------
    ConfigError
        For an unknown name or format.
    OSError
        If `out` cannot be written.
    """
    check_formats(formats)
    directory = Path(out)
    say = progress or (lambda text: None)
    cells: dict[tuple[str, bool], FigureData | MissingData] = {}
    drawn: list[DrawnFigure] = []
    skipped: list[SkippedFigure] = []
    for figure in _chosen(only):
        if quick and figure.sustained and only is None:
            skipped.append(SkippedFigure(figure.name, f"too slow for --quick: give --only {figure.name}"))
            continue
        try:
            for name in figure.scenarios:
                if (name, figure.sustained) not in cells:
                    cells[name, figure.sustained] = _cells(
                        name, figure.sustained, directory, quick=quick, jobs=jobs, say=say
                    )
            found = dict(_found(figure, cells))
            say(f"drawing {figure.name}")
            table = figure.tabulate(found)
        except MissingData as missing:
            skipped.append(SkippedFigure(figure.name, str(missing)))
            continue
        text = _caption(figure, table, found, quick=quick)
        drawn.append(write_figure(directory, figure.name, text, table, figure.draw, formats))
    result = FiguresResult(directory, tuple(drawn), tuple(skipped))
    if drawn:
        write_index(result)
    return result


def _chosen(only: Sequence[str] | None) -> list[PaperFigure]:
    check_names(only or (), PAPER_FIGURES, "figure", of="the paper", error=ConfigError)
    return list(PAPER_FIGURES.values()) if only is None else [PAPER_FIGURES[name] for name in dict.fromkeys(only)]


def _cells(
    name: str, sustained: bool, directory: Path, *, quick: bool, jobs: int, say: Callable[[str], None]
) -> FigureData | MissingData:
    say(f"running {name}")
    place = f"{name}{'-sustained' * sustained}{'-quick' * quick}"
    run = run_capacity_of if sustained else run_scenario
    try:
        return run(
            name,
            directory / CELLS / place,
            quick=quick,
            jobs=jobs,
            progress=lambda now: say(f"running {name}: {now.skipped + now.done} of {now.cells} cells"),
        )
    except MissingData as missing:
        return missing


def _found(
    figure: PaperFigure, cells: Mapping[tuple[str, bool], FigureData | MissingData]
) -> Iterator[tuple[str, FigureData]]:
    for name in figure.scenarios:
        data = cells[name, figure.sustained]
        if isinstance(data, MissingData):
            raise data
        yield name, data


def _caption(figure: PaperFigure, table: FigureTable, cells: Mapping[str, FigureData], *, quick: bool) -> str:
    """Return a caption: what is shown, what was run, and what had to be chosen where the publication is silent."""
    sentences = [figure.shows, table.note]
    if not figure.sustained and cells:
        sentences.append(lasting([data.cells for data in cells.values()]))
    for name, data in cells.items():
        sentences.append(f"Scenario {name}: {setting_of(data.cells)}")
    found = (choice for name in cells for choice in find_scenario(name).choices.items())
    choices = dict.fromkeys(f"{setting}: {why}" for setting, why in found)
    sentences += [f"Chosen where the publication is silent: {'; '.join(choices)}"] if choices else []
    sentences += ["A quick version: two seeds and three values per axis"] if quick and cells else []
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
