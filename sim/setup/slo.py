"""Service-level objectives such as `p95_jct=300,mean_ttft=1` or `jct=600,tpot=0.05`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from continuum_sim.errors import ConfigError, shown
from continuum_sim.names import unknown

PROGRAM_SAMPLES: Final = ("jct", "slowdown")
"""Samples with one value per program: JCT in seconds, slowdown as a multiple of the program's JCT alone."""
TURN_SAMPLES: Final = ("ttft", "tpot", "e2el", "queue_wait")
"""Samples with one value per turn, in seconds; TPOT and E2EL as defined by `vllm bench serve`."""
SAMPLES: Final = (*PROGRAM_SAMPLES, *TURN_SAMPLES)
STATISTICS: Final = ("mean", "p50", "p90", "p95", "p99", "max")
_AS_IN: Final = "as in p95_jct=300,ttft=2"
_KNOWN: Final = f"known: {', '.join(SAMPLES)}, alone or after {', '.join(f'{name}_' for name in STATISTICS)}"


@dataclass(frozen=True, slots=True)
class Objective:
    """An upper bound on a statistic of a sample."""

    statistic: str
    """Empty if every program or turn must keep the bound."""
    sample: str
    most: float
    """The bound: seconds, or a ratio for the slowdown."""

    def value(self, values: np.ndarray) -> float | None:
        """Return the statistic of a sample (its largest value if every one must keep the bound); None if empty."""
        if not len(values):
            return None
        if self.statistic == "mean":
            return float(values.mean())
        share = 100.0 if self.statistic in ("max", "") else float(self.statistic[1:])
        return float(np.percentile(values, share))

    def kept(self, values: np.ndarray) -> bool:
        """Return True if a sample keeps the bound; an empty one does."""
        value = self.value(values)
        return value is None or value <= self.most

    @property
    def name(self) -> str:
        """Name in the notation of `--slo`, such as `p95_jct`."""
        return _name(self.statistic, self.sample)

    def __str__(self) -> str:
        return f"{self.name}={self.most:g}"


@dataclass(frozen=True, slots=True)
class Slo:
    """Objectives that must all be kept; no objectives at all count as kept."""

    objectives: tuple[Objective, ...] = ()

    def kept(self, samples: Mapping[str, np.ndarray]) -> bool:
        """Return True if the samples, given by name, keep every objective."""
        return all(item.kept(samples[item.sample]) for item in self.objectives)

    def asks_for(self, sample: str) -> bool:
        """Return True if an objective is about this sample."""
        return any(item.sample == sample for item in self.objectives)

    def __bool__(self) -> bool:
        return bool(self.objectives)

    def __str__(self) -> str:
        return ",".join(map(str, self.objectives))


NO_SLO: Final = Slo()


def parse_slo(text: str | Mapping[str, float] | None) -> Slo:
    """Read objectives: `p95_jct=300,ttft=2`, or the same as a mapping; without a statistic, every value must keep it.

    Raises
    ------
    ConfigError
        Naming the objective and what was expected.
    """
    if text is None:
        return NO_SLO
    if isinstance(text, str):
        parts = (item.partition("=") for item in text.split(","))
        pairs: list[tuple[str, object]] = [(name.strip(), value.strip()) for name, _, value in parts]
    elif isinstance(text, Mapping):
        pairs = [(str(name), value) for name, value in text.items()]
    else:
        raise ConfigError(f"slo is {shown(text)}, expected objectives, {_AS_IN}")
    known = {_name(statistic, sample): (statistic, sample) for sample in SAMPLES for statistic in ("", *STATISTICS)}
    for name, _ in pairs:
        if name not in known:
            raise ConfigError(unknown("objective", name, known, of="slo", remedy=_KNOWN))
    objectives = tuple(Objective(*known[name], _bound(name, value)) for name, value in pairs)
    if not objectives or len({name for name, _ in pairs}) < len(objectives):
        raise ConfigError(f"slo is {shown(text)}, expected objectives, each once, {_AS_IN}")
    return Slo(objectives)


def _name(statistic: str, sample: str) -> str:
    return f"{statistic}_{sample}" if statistic else sample


def _bound(name: str, value: object) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not 0 < found < math.inf:
        unit = "" if name.endswith("slowdown") else " of seconds"
        raise ConfigError(f"slo: {name} is {shown(value)}, expected a number{unit} above 0")
    return found
