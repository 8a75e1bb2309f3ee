"""Published results to compare with simulated ones: one TOML file per figure or table, with its source.

Values are as printed, or read off a picture where the file says so; they are never adjusted to ours.

>>> from continuum_sim.published import find_published
>>> find_published("fig16-swe").points[0].value
1950.0
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from continuum_sim.hardware.catalogue import find, fold


@dataclass(frozen=True)
class PublishedPoint:
    """One published number."""

    series: str
    """The publication's own label of the curve or bar."""
    quantity: str
    """What was measured, with its unit: `jct_mean_s`, `jct_p95_s`, `makespan_s`, `jct_ratio`, …"""
    value: float
    policy: str | None = None
    """Our policy with the same rule; None if the number belongs to no policy."""
    x: float | None = None
    """Position along the figure's axis `x_name`; None for a bar or a table."""
    approximate: bool = False
    """Whether it was read off a picture instead of printed as a number (accurate to about 3 %)."""


@dataclass(frozen=True)
class PublishedFigure:
    """The numbers of one published figure or table."""

    name: str
    figure: str
    """Its number in the publication, `Figure 16`."""
    title: str
    setting: str
    """Model, GPU, trace and load, as published."""
    source: str
    points: tuple[PublishedPoint, ...]
    x_name: str = ""
    """Meaning and unit of the points' `x`; empty if they have none."""
    note: str = ""
    """What to know before comparing."""


@cache
def published() -> tuple[PublishedFigure, ...]:
    """Return all published figures, by name."""
    folder = files(__name__)
    texts = {
        path.name.removesuffix(".toml"): path.read_text(encoding="utf-8")
        for path in folder.iterdir()
        if path.name.endswith(".toml")
    }
    return tuple(
        msgspec.convert({"name": name, **tomllib.loads(texts[name])}, PublishedFigure, strict=False)
        for name in sorted(texts)
    )


def find_published(name: str) -> PublishedFigure:
    """Return the figure of that name.

    Raises
    ------
    ConfigError
        If there is none; names the nearest.
    """
    index = {fold(figure.name): figure for figure in published()}
    return find(name, index, "published figure", f"known: {', '.join(figure.name for figure in published())}")
