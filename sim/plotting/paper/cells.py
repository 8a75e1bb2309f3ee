"""The cells of a scenario, run as a resumable sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from continuum_sim.capacities.run import capacity
from continuum_sim.errors import ConfigError
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.load import load
from continuum_sim.scenarios import Scenario, find_scenario, scenarios
from continuum_sim.setup.settings_dict import ServiceSettings
from continuum_sim.sweeps import sweep
from continuum_sim.sweeps.run import SweepProgress
from continuum_sim.traces.arrivals import Closed

SEEDS: Final = tuple(range(5))
QUICK_SEEDS: Final = tuple(range(2))
_QUICK_VALUES: Final = 3


def run_scenario(
    name: str, directory: Path, *, quick: bool, jobs: int = -1, progress: Callable[[SweepProgress], None] | None = None
) -> FigureData:
    """Run the missing cells of a scenario, and return all of its cells.

    Parameters
    ----------
    directory
        Directory of the sweep's dataset.
    quick
        Whether to take only two seeds, and three values per axis: the first, the middle and the last.
    jobs
        Processes; -1 is one per core.
    progress
        Called as cells finish.

    Raises
    ------
    MissingData
        If there is no such scenario, or its cells cannot run.
    """
    scenario = _find(name)
    axes = {axis: _thinned(values) if quick and axis != "policy" else values for axis, values in scenario.grid.items()}
    axes["seed"] = _seeds(scenario, quick)
    try:
        result = sweep(vary=axes, out=directory, jobs=jobs, progress=progress, **_base(scenario))
    except ConfigError as error:
        raise MissingData(f"needs the cells of {name}, which cannot run: {error}") from None
    if result.failures:
        first = result.failures[0]
        raise MissingData(f"needs the cells of {name}, of which {len(result.failures)} failed, the first with: {first}")
    return load(result)


def run_capacity_of(
    name: str, directory: Path, *, quick: bool, jobs: int = -1, progress: Callable[[SweepProgress], None] | None = None
) -> FigureData:
    """Measure the service curves of a scenario's policies on its engine, and return them with the loads they sustain.

    Parameters and errors as for `run_scenario`; `quick` measures those of the first and the last policy.
    """
    scenario = _find(name)
    settings = {key: value for key, value in _base(scenario).items() if key in ServiceSettings.__annotations__}
    policies = (scenario.policies[0], scenario.policies[-1]) if quick else scenario.policies
    try:
        found = capacity(policies, quick=True, out=directory, jobs=jobs, progress=progress, **settings)
    except ConfigError as error:
        raise MissingData(f"needs the service curves of {name}, which cannot be measured: {error}") from None
    return load(found)


def _find(name: str) -> Scenario:
    if name not in {scenario.name for scenario in scenarios()}:
        raise MissingData(f"needs the scenario {name}, which this version lacks")
    return find_scenario(name)


def _seeds(scenario: Scenario, quick: bool) -> tuple[int, ...]:
    """Return the seeds; one is enough for closed loads that replay the trace, as nothing is drawn then."""
    closed = str(scenario.base.get("arrivals", "")).startswith(Closed.name)
    if closed and "programs" not in scenario.base:
        return QUICK_SEEDS[:1]
    return QUICK_SEEDS if quick else SEEDS


def _base(scenario: Scenario) -> dict[str, Any]:
    """Return the settings of a scenario that are not axes."""
    return {name: value for name, value in scenario.base.items() if name not in scenario.grid}


def _thinned(values: Sequence[Any]) -> list[Any]:
    if len(values) <= _QUICK_VALUES:
        return list(values)
    return [values[0], values[len(values) // 2], values[-1]]
