"""From the specification of a sweep to its cells, each checked as far as possible without running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.policies import PolicyError
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.sweeps.identity import Lookup
from continuum_sim.sweeps.settings import RATE, check_setting, read_value, read_values, with_rate
from continuum_sim.sweeps.traces import PlannedTraces

MOST_CELLS: Final = 1_000_000
"""Most cells of a sweep: at a second each, they take more than eleven days."""
_INNERMOST: Final = (RATE, "policy", "seed")
"""Axes that vary fastest, the last one most: seeds of one policy and load end up next to each other."""


@dataclass(frozen=True)
class SweepSpec:
    """Specification of a sweep; every name is a field of `RunConfig`, or `rate`."""

    base: Mapping[str, Any] = field(default_factory=dict)
    """Settings of all cells, one value each."""
    grid: Mapping[str, Any] = field(default_factory=dict)
    """The axes: lists of values, or text as `read_values` takes it. Cells are their product."""
    cells: Sequence[Mapping[str, Any]] = ()
    """Settings that go together; each is crossed with the grid and overrides what it names."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a sweep."""

    id: str
    """Hash of everything its result depends on."""
    config: RunConfig
    """Its settings; cheap to ship, since the trace is given by name."""
    trace_sha256: str
    """Hash that the trace must have where the cell runs."""
    settings: Mapping[str, Any]
    """Settings of this cell that were given, defaults left out."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A combination of settings that cannot work together."""

    settings: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class SweepPlan:
    """The cells of a sweep, each once."""

    spec: SweepSpec
    cells: tuple[Cell, ...]
    refusals: tuple[Refusal, ...]
    """Combinations that cannot run; all others do."""
    traces: PlannedTraces


def plan_sweep(spec: SweepSpec) -> SweepPlan:
    """Return the cells of a sweep.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        For an unknown setting or name, or if no combination can run.
    """
    traces = PlannedTraces()
    lookup = Lookup()
    cells: dict[str, Cell] = {}
    refusals: list[Refusal] = []
    for settings in _combinations(spec):
        settings["trace"] = traces.add(settings.get("trace", RunConfig.trace))
        lookup.check_names(settings)
        try:
            config = _config(settings)
            config, identity = lookup.identify(config, traces.sha256(config.trace))
        except (ConfigError, PolicyError) as error:
            refusals.append(Refusal(settings, str(error)))
            continue
        cells.setdefault(identity, Cell(identity, config, traces.sha256(config.trace), settings))
    if not cells:
        raise ConfigError(refusals[0].reason)
    return SweepPlan(spec, tuple(cells.values()), tuple(refusals), traces)


def _config(settings: Mapping[str, Any]) -> RunConfig:
    given = dict(settings)
    if RATE in given:
        given["arrivals"] = with_rate(given.get("arrivals"), given.pop(RATE))
    return RunConfig(**given)


def _combinations(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    base = {check_setting(name, "base"): raw for name, raw in spec.base.items()}
    base = {name: read_value(name, raw) for name, raw in base.items()}
    grid = _axes(spec.grid, "grid")
    each = [_in_order({**grid, **_axes(entry, "cells")}) for entry in spec.cells or ({},)]
    _check_number(each)
    for axes in each:
        for values in product(*axes.values()):
            yield {**base, **dict(zip(axes, values, strict=True))}


def _check_number(each: Sequence[Mapping[str, list[Any]]]) -> None:
    """Refuse a grid of more than `MOST_CELLS` cells before any of them is made."""
    number = sum(prod(map(len, axes.values())) for axes in each)
    if number > MOST_CELLS:
        widest = max(((name, len(values)) for axes in each for name, values in axes.items()), key=lambda axis: axis[1])
        raise ConfigError(
            f"the grid has {number:,} cells, expected at most {MOST_CELLS:,}; give fewer values, e.g. of {widest[0]}, "
            f"which has {widest[1]:,}"
        )


def _axes(raw: Mapping[str, Any], owner: str) -> dict[str, list[Any]]:
    axes = {}
    for name, values in raw.items():
        known = check_setting(name, owner)
        axes[known] = read_values(known, values)
    return axes


def _in_order(axes: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    outer = [name for name in axes if name not in _INNERMOST]
    return {name: axes[name] for name in (*outer, *(name for name in _INNERMOST if name in axes))}
