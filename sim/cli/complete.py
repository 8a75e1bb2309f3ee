"""Names for shell completion, looked up when Tab is pressed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

Completer = Callable[[str], list[str]]
CONTINUUM: Final = "continuum"
"""Name in `trace export --to` of the files that Continuum's own code writes."""


def completer(names: str) -> Completer | None:
    """Return a completer for values that are names of this sort (a key of `SORTS`); None if they are not names.

    In a list such as `lru,tt` it completes the last name.
    """
    if not names:
        return None
    known = SORTS[names]

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in known() if name.startswith(last)]

    return complete


def _policies() -> Iterable[str]:
    from continuum_sim.policies import PRESETS

    return sorted(PRESETS.load())


def _routers() -> Iterable[str]:
    from continuum_sim.policies.registry import ROUTINGS, load_plugins

    load_plugins()
    return sorted(ROUTINGS)


def _gpus() -> Iterable[str]:
    from continuum_sim.hardware.gpus import gpus

    return [gpu.name.lower() for gpu in gpus()]


def _models() -> Iterable[str]:
    from continuum_sim.hardware.models import models

    return [model.name.lower() for model in models()]


def _traces() -> Iterable[str]:
    from continuum_sim.traces.load import bundled_traces

    return bundled_traces()


def _arrivals() -> Iterable[str]:
    from continuum_sim.traces.arrivals import ARRIVALS

    return ARRIVALS


def _step_times() -> Iterable[str]:
    from continuum_sim.steptime.named import STEP_TIMES

    return sorted(STEP_TIMES.load())


def _scenarios() -> Iterable[str]:
    from continuum_sim.scenarios import scenarios

    return [scenario.name for scenario in scenarios()]


def _figures() -> Iterable[str]:
    from continuum_sim.plotting.paper.catalogue import PAPER_FIGURES
    from continuum_sim.plotting.registry import all_figures

    return [*all_figures(), *PAPER_FIGURES]


def _importers() -> Iterable[str]:
    from continuum_sim.traces.importers import importers

    return importers()


def _exporters() -> Iterable[str]:
    from continuum_sim.traces.exporters import EXPORTERS

    return sorted([*EXPORTERS.load(), CONTINUUM])


def _profiles() -> Iterable[str]:
    from continuum_sim.traces.generate import profiles, recipes

    return [*profiles(), *recipes()]


def _settings() -> Iterable[str]:
    from continuum_sim.setup.run_config import run_settings

    return [f"{name}=" for name in run_settings()]


SORTS: Final[dict[str, Callable[[], Iterable[str]]]] = {
    "policy": _policies,
    "router": _routers,
    "gpu": _gpus,
    "model": _models,
    "trace": _traces,
    "arrivals": _arrivals,
    "step_time": _step_times,
    "scenario": _scenarios,
    "figure": _figures,
    "importer": _importers,
    "exporter": _exporters,
    "profile": _profiles,
    "setting": _settings,
}
"""Sort of name -> function that lists the names of that sort."""
