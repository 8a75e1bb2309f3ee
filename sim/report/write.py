"""Make and write the page of a directory of results."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from continuum_sim.errors import ConfigError
from continuum_sim.readers import convert, read_json
from continuum_sim.report.layout import asset, by_class, environment
from continuum_sim.report.page import Page, comparison_page, run_page
from continuum_sim.results.compared import ComparisonRow
from continuum_sim.results.estimate import METRICS
from continuum_sim.results.files import MANIFEST
from continuum_sim.results.manifest_parts import ComparisonParts, read_manifest
from continuum_sim.results.paired import PairedDifference
from continuum_sim.results.result import RunResult, load_run
from continuum_sim.results.summary import Summary
from continuum_sim.results.survival import AtEnds
from continuum_sim.results.unfinished import COMPARISON, refuse_unfinished
from continuum_sim.results.view.comparison import comparison_view
from continuum_sim.results.view.run import engine_line
from continuum_sim.traces.files import refuse_folder, write_text

PAGE: Final = "report.html"
_BOUNDS: Final = frozenset(
    ("jct_mean_low_s", "jct_mean_high_s", "difference_low_s", "difference_high_s", "ratio_low", "ratio_high")
)
_SCRIPTS: Final = ("data.js", "draw.js", "describe.js", "timeline.js", "start.js")


class _Comparison(msgspec.Struct):
    policies: Annotated[list[ComparisonRow], msgspec.Meta(min_length=1)]
    differences: list[PairedDifference]
    runs: Annotated[list[Summary], msgspec.Meta(min_length=1)]
    at_ends: list[AtEnds] = []


class Picture(NamedTuple):
    """A drawing and its caption."""

    caption: str
    base64: str
    """The SVG; embedded as an image, so that it cannot run scripts whatever names it contains."""


def write_report(
    directory: str | PathLike[str], out: str | PathLike[str] | None = None, *, pictures: bool = True
) -> Path:
    """Write one HTML page about a run or a comparison and return its path.

    The page is self-contained: it needs no network and no other file. For a comparison, it holds the timelines of
    every policy under the first seed, over a common time axis.

    Parameters
    ----------
    directory
        Directory of a run or of a comparison.
    out
        File to write; `report.html` inside the directory if None.
    pictures
        Whether to draw the figures that the results allow.

    Raises
    ------
    ConfigError
        If the directory holds neither, or runs without their tables.
    OSError
        If the file cannot be written.
    """
    from continuum_sim.report.timeline_data import MOST_TURNS, timeline_data  # needs pandas, unlike the rest

    place = Path(directory)
    target = place / PAGE if out is None else Path(out)
    refuse_folder(target)
    if (place / COMPARISON).is_file():
        page, runs = _comparison(place)
    else:
        refuse_unfinished(place)
        run = load_run(place)
        page, runs = run_page(run), [run]
    timelines = [timeline_data(run, most_turns=MOST_TURNS // len(runs)) for run in runs]
    html = _render(page, timelines, _pictures(place) if pictures else [])
    write_text(target, html)
    return target


def _comparison(place: Path) -> tuple[Page, list[RunResult]]:
    """Return the page of a comparison, and its runs under the first seed."""
    try:
        manifest, parts = read_manifest(place / MANIFEST, ComparisonParts)
        compared = _read_comparison(place / COMPARISON)
        runs = [load_run(place / path) for path in parts.runs]
    except ConfigError as error:
        raise ConfigError(f"{place} is not a comparison: {error}") from None
    first_seed = [run for run in runs if run.summary.seed == parts.seeds[0]]
    if not first_seed:
        raise ConfigError(f"{place / MANIFEST}: lists no run of seed {parts.seeds[0]}, the first of its seeds")
    view = comparison_view(
        compared.policies, compared.differences, compared.runs, metrics=METRICS, at_ends=compared.at_ends
    )
    baseline = f"{engine_line(runs[0].summary, runs[0].manifest)}; baseline {manifest['baseline']}"
    view = replace(view, setting=[*view.setting, baseline])
    return comparison_page(view, manifest, runs[0].manifest), first_seed


def _read_comparison(path: Path) -> _Comparison:
    written = read_json(path)
    for part in ("policies", "differences"):
        rows = written.get(part) if isinstance(written, dict) else None
        for row in rows if isinstance(rows, list) else ():
            # The NaN bounds of an interval over a single run, which JSON cannot hold.
            for name in [name for name in _BOUNDS if isinstance(row, dict) and row.get(name, 0) is None]:
                row[name] = math.nan
    return convert(written, _Comparison, path)


def _pictures(directory: Path) -> list[Picture]:
    """Draw every figure that the results allow."""
    from continuum_sim.plotting import figures

    with TemporaryDirectory(prefix="continuum-sim-report-") as folder:
        drawn = figures(directory, out=folder, formats=("svg",)).drawn
        found = []
        for figure in drawn:
            (svg,) = [path for path in figure.files if path.suffix == ".svg"]
            found.append(Picture(figure.caption, b64encode(svg.read_bytes()).decode("ascii")))
    return found


def _render(page: Page, timelines: Sequence[dict[str, Any]], pictures: Sequence[Picture]) -> str:
    from markupsafe import Markup

    from continuum_sim import __version__

    script = "(() => {\n'use strict';\n" + "\n".join(map(asset, _SCRIPTS)) + "})();\n"
    return (
        environment(by_class)
        .get_template("report.html.j2")
        .render(
            page=page,
            view=page.view,
            timelines=timelines,
            pictures=pictures,
            version=__version__,
            # Safe: these are ours and contain no user's text.
            style=Markup(asset("report.css")),
            script=Markup(script),
        )
    )
