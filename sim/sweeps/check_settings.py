"""Check the settings of a file one by one, so that an error can name the file, the table and the setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from continuum_sim.errors import ConfigError, shown
from continuum_sim.policies import PolicyError
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.sweeps.settings import RATE, check_setting, read_value, read_values
from continuum_sim.traces.arrivals import Poisson

_MOST_CHECKED: Final = 1_000
"""Most values of an axis that are checked; a longer axis is a range of numbers, which the sweep itself checks."""


def check_base(where: str, base: Mapping[str, Any]) -> None:
    """Check the settings of a table `base`: one value each.

    Raises
    ------
    ConfigError
        Naming the file (`where`), the table and the setting.
    """
    for name, raw in base.items():
        _check(f"{where}: base.{name}", name, [raw], many=False)


def check_axes(where: str, axes: Mapping[str, Any], table: str = "grid") -> None:
    """Check the settings of a table `grid`, or of one of `cells`: several values each; errors as `check_base`."""
    for name, raw in axes.items():
        _check(f"{where}: {table}.{name}", name, raw, many=True)


def _check(place: str, name: str, raw: Any, *, many: bool) -> None:
    try:
        name = check_setting(name, place)
        values: Iterable[Any] = read_values(name, raw) if many else [read_value(name, item) for item in raw]
        for value in list(values)[:_MOST_CHECKED]:
            if name == "trace" and not isinstance(value, str):
                raise ConfigError(f"trace is {shown(value)}, expected the name of a file or of a trace")
            if name == RATE:
                Poisson(value)
            else:
                RunConfig(**{name: value})
    except (ConfigError, PolicyError, ValueError) as error:
        said = str(error)
        raise ConfigError(said if said.startswith(place) else f"{place}: {said}") from None
