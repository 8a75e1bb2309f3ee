"""Service-level objectives: what users are promised, as `p95_jct=300,mean_ttft=1`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from continuum_sim.errors import ConfigError, shown
from continuum_sim.names import check_names

SAMPLES: Final = ("jct", "ttft", "queue_wait")
"""Of a program, a turn, a turn; in seconds."""
STATISTICS: Final = ("mean", "p50", "p90", "p95", "p99", "max")


@dataclass(frozen=True, slots=True)
class Objective:
    """A statistic of a sample, and the seconds it may come to."""

    statistic: str
    sample: str
    most_s: float

    def kept(self, values_s: np.ndarray) -> bool:
        """Whether a sample keeps it; an empty one does."""
        if not len(values_s):
            return True
        if self.statistic == "mean":
            return float(values_s.mean()) <= self.most_s
        share = 100.0 if self.statistic == "max" else float(self.statistic[1:])
        return float(np.percentile(values_s, share)) <= self.most_s

    def __str__(self) -> str:
        return f"{self.statistic}_{self.sample}={self.most_s:g}"


@dataclass(frozen=True, slots=True)
class Slo:
    """Objectives that are all to be kept; where there are none, they are."""

    objectives: tuple[Objective, ...] = ()

    def kept(self, samples_s: Mapping[str, np.ndarray]) -> bool:
        """Whether samples, by name, keep all of it."""
        return all(item.kept(samples_s[item.sample]) for item in self.objectives)

    def __bool__(self) -> bool:
        return bool(self.objectives)

    def __str__(self) -> str:
        return ",".join(map(str, self.objectives))


NO_SLO: Final = Slo()


def parse_slo(text: str | Mapping[str, float] | None) -> Slo:
    """Read objectives: `p95_jct=300,mean_ttft=1`, or the same as a mapping.

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
        raise ConfigError(f"slo is {shown(text)}, expected objectives, as in p95_jct=300,mean_ttft=1")
    names = [f"{statistic}_{sample}" for sample in SAMPLES for statistic in STATISTICS]
    check_names([name for name, _ in pairs], names, "objective", of="slo", error=ConfigError)
    objectives = tuple(_objective(name, value) for name, value in pairs)
    if not objectives or len({name for name, _ in pairs}) < len(objectives):
        raise ConfigError(f"slo is {shown(text)}, expected objectives, each once, as in p95_jct=300,mean_ttft=1")
    return Slo(objectives)


def _objective(name: str, value: object) -> Objective:
    statistic, _, sample = name.partition("_")
    return Objective(statistic, sample, _seconds(name, value))


def _seconds(name: str, value: object) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not 0 < found < math.inf:
        raise ConfigError(f"slo: {name} is {shown(value)}, expected a number of seconds above 0")
    return found
