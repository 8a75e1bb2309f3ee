"""Makes the page of a directory of results and writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from continuum_sim.errors import ConfigError
from continuum_sim.readers import convert, read_json
from continuum_sim.report.comparison_page import comparison_page
from continuum_sim.report.page import Page, run_page
from continuum_sim.report.pictures import Picture, pictures_of
from continuum_sim.report.timeline_data import MOST_TURNS, timeline_data
from continuum_sim.results.compared import ComparisonRow
from continuum_sim.results.files import MANIFEST
from continuum_sim.results.manifest_parts import ComparisonParts, read_manifest
from continuum_sim.results.paired import PairedDifference
from continuum_sim.results.result import RunResult, load_run
from continuum_sim.results.summary import Summary
from continuum_sim.results.unfinished import COMPARISON, refuse_unfinished
from continuum_sim.traces.files import refuse_folder, write_text

PAGE: Final = "report.html"
_SCRIPTS: Final = ("data.js", "draw.js", "describe.js", "timeline.js", "start.js")


class _Comparison(msgspec.Struct):
    policies: Annotated[list[ComparisonRow], msgspec.Meta(min_length=1)]
    differences: list[PairedDifference]
    runs: Annotated[list[Summary], msgspec.Meta(min_length=1)]


def write_report(
    directory: str | PathLike[str], out: str | PathLike[str] | None = None, *, pictures: bool = True
) -> Path:
    """Write one HTML page about a run or a comparison and return its place.

    Everything is in the page: it needs no network and no other file. Of a comparison, the timelines of every policy
    under the first seed are in it, over one axis of time.

    Parameters
    ----------
    directory
        Of a run or of a comparison.
    out
        File to write; `report.html` inside of the directory if None.
    pictures
        Whether to draw the figures that the results allow.

    Raises
    ------
    ConfigError
        If the directory holds neither, or runs without their tables.
    OSError
        If the file cannot be written.
    """
    place = Path(directory)
    target = place / PAGE if out is None else Path(out)
    refuse_folder(target)
    if (place / COMPARISON).is_file():
        page, runs = _comparison(place)
    else:
        refuse_unfinished(place)
        run = load_run(place)
        page, runs = run_page(run.summary, run.manifest), [run]
    timelines = [timeline_data(run, most_turns=MOST_TURNS // len(runs)) for run in runs]
    html = _render(page, timelines, pictures_of(place) if pictures else [])
    write_text(target, html)
    return target


def _comparison(place: Path) -> tuple[Page, list[RunResult]]:
    """The page of a comparison, and its runs under the first seed."""
    try:
        manifest, parts = read_manifest(place / MANIFEST, ComparisonParts)
        compared = _read_comparison(place / COMPARISON)
        runs = [load_run(place / path) for path in parts.runs]
    except ConfigError as error:
        raise ConfigError(f"{place} is no comparison: {error}") from None
    first_seed = [run for run in runs if run.summary.seed == parts.seeds[0]]
    if not first_seed:
        raise ConfigError(f"{place / MANIFEST}: lists no run of seed {parts.seeds[0]}, the first of its seeds")
    page = comparison_page(compared.policies, compared.differences, compared.runs, manifest, runs[0].manifest)
    return page, first_seed


def _read_comparison(path: Path) -> _Comparison:
    written = read_json(path)
    differences = written.get("differences") if isinstance(written, dict) else None
    for difference in differences if isinstance(differences, list) else ():
        for name in ("difference_low_s", "difference_high_s", "ratio_low", "ratio_high"):
            # The bounds of an interval over a single pair, which JSON cannot hold.
            if isinstance(difference, dict) and difference.get(name, 0) is None:
                difference[name] = math.nan
    return convert(written, _Comparison, path)


def _render(page: Page, timelines: Sequence[dict[str, Any]], pictures: Sequence[Picture]) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from continuum_sim import __version__

    assets = files("continuum_sim.report") / "assets"

    def asset(name: str) -> str:
        return (assets / name).read_text(encoding="utf-8")

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    script = "(() => {\n'use strict';\n" + "\n".join(map(asset, _SCRIPTS)) + "})();\n"
    return environment.from_string(asset("report.html.j2")).render(
        page=page,
        timelines=timelines,
        pictures=pictures,
        version=__version__,
        # Ours, and no user's text is in them.
        style=Markup(asset("report.css")),
        script=Markup(script),
    )
