"""Named settings of published experiments: one TOML file each, in the shape of a sweep's file.

`[base]` holds settings of a run, `[grid]` the axes that were varied (`policy` first), and `[scenario]` the title, the
published figure it belongs to, and `choices`: what the publication leaves open, and why we chose as we did.

>>> import continuum_sim as cs
>>> cs.find_scenario("continuum-fig16-swe").policies
('lru', 'program-fifo', 'ttl-static', 'ttl')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError, shown
from continuum_sim.hardware.catalogue import find, fold
from continuum_sim.names import check_names
from continuum_sim.readers import MAX_TOML_BYTES, parse_toml, read_bytes

_TABLES: Final = ("scenario", "base", "grid")
_ABOUT: Final = {
    "title": "text",
    "published": "text",
    "figures": "a list of names",
    "choices": "a table of texts",
}


@dataclass(frozen=True)
class Scenario:
    """Named settings of an experiment."""

    name: str
    title: str
    published: str
    """What the publication reports, in a sentence or two; empty for a scenario of our own."""
    figures: tuple[str, ...]
    """Names of the published figures to compare its results with (`continuum_sim.published`)."""
    base: Mapping[str, Any]
    """Settings, as keyword arguments of `run`."""
    grid: Mapping[str, tuple[Any, ...]]
    """Axes and their values: `policy`, `rate` (programs per second), or any setting of a run."""
    choices: Mapping[str, str]
    """Setting on which the publication is silent -> why we chose its value."""

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies to compare, the baseline first."""
        return tuple(self.grid.get("policy", ()))

    def axis(self, name: str) -> Any:
        """Return the values of an axis as written in the file: a list, or text in the notation of the command line."""
        values = self.grid[name]
        return values[0] if len(values) == 1 and isinstance(values[0], str) else list(values)


@cache
def scenarios() -> tuple[Scenario, ...]:
    """Return all scenarios of this package, by name."""
    found = sorted((path for path in files(__name__).iterdir() if path.name.endswith(".toml")), key=lambda p: p.name)
    return tuple(_scenario(path.name.removesuffix(".toml"), path.read_bytes(), path.name) for path in found)


def find_scenario(name: str) -> Scenario:
    """Return the scenario of that name, or read the TOML file of that path.

    Raises
    ------
    ConfigError
        If there is none (naming the nearest), or for a file that is not a scenario.
    """
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        found = _scenario(path.stem, _read(path, name), name)
        _check_values(name, found)
        return found
    if not name.strip():
        raise ConfigError("the scenario's name is empty: `continuum-sim scenarios` lists them")
    index = {fold(scenario.name): scenario for scenario in scenarios()}
    return find(name, index, "scenario", "`continuum-sim scenarios` lists them, or give a TOML file")


def _read(path: Path, name: str) -> bytes:
    try:
        return read_bytes(path, MAX_TOML_BYTES)
    except ConfigError as error:
        raise ConfigError(f"scenario {name}{str(error).removeprefix(str(path))}") from None


def _scenario(name: str, text: bytes, where: str) -> Scenario:
    raw = parse_toml(text, f"scenario {where}")
    for table, value in raw.items():
        if table not in _TABLES or not isinstance(value, dict):
            raise ConfigError(f"scenario {where}: {table!r} is unexpected, expected the tables {', '.join(_TABLES)}")
    about, base, grid = (raw.get(table, {}) for table in _TABLES)
    _check_about(where, about)
    _check_settings(where, base, grid)
    base = _with_arrivals(where, base)
    axes = {key: tuple(values) if isinstance(values, list) else (values,) for key, values in grid.items()}
    return Scenario(
        name=name,
        title=about.get("title", name),
        published=about.get("published", ""),
        figures=tuple(about.get("figures", ())),
        base=base,
        grid=axes,
        choices=about.get("choices", {}),
    )


def _with_arrivals(where: str, base: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with a rate replaced by the arrivals it stands for."""
    if "rate" not in base:
        return base
    from continuum_sim.setup.run_config import RunConfig

    rest = {name: value for name, value in base.items() if name != "rate"}
    try:
        return {**rest, "arrivals": RunConfig(rate=base["rate"], arrivals=base.get("arrivals")).arrivals}
    except ConfigError as error:
        raise ConfigError(f"scenario {where}: base.{error}") from None


def _check_values(where: str, scenario: Scenario) -> None:
    """Check every value of a user's file, so that errors name its place."""
    from continuum_sim.sweeps.check_settings import check_axes, check_base

    check_base(f"scenario {where}", scenario.base)
    check_axes(f"scenario {where}", {name: list(values) for name, values in scenario.grid.items()})
    for policy in scenario.policies:
        if not isinstance(policy, str):
            raise ConfigError(f"scenario {where}: grid.policy is {shown(policy)}, expected names of policies")


def _check_about(where: str, about: Mapping[str, Any]) -> None:
    for key, value in about.items():
        if key not in _ABOUT:
            raise ConfigError(f"scenario {where}: scenario.{key} is unknown, expected {', '.join(_ABOUT)}")
        if key == "figures":
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        elif key == "choices":
            good = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        else:
            good = isinstance(value, str)
        if not good:
            raise ConfigError(f"scenario {where}: scenario.{key} is {shown(value)}, expected {_ABOUT[key]}")


def _check_settings(where: str, base: Mapping[str, Any], grid: Mapping[str, Any]) -> None:
    from continuum_sim.setup.run_config import RunConfig

    known = {item.name: item.default for item in fields(RunConfig)}
    takes_text = {item.name for item in fields(RunConfig) if "str" in str(item.type).split(" | ")}
    for table, settings, names in (
        ("base", base, {*known, "rate"} - {"policy", "seed"}),
        ("grid", grid, {*known, "rate"}),
    ):
        check_names(settings, sorted(names), "setting", of=f"scenario {where}, table {table}", error=ConfigError)
    for key, value in base.items():
        if key == "rate" or (key in takes_text and isinstance(value, str)):
            continue
        kind = type(known[key])
        if kind is not type(None) and not isinstance(value, (int, float) if kind is float else kind):
            raise ConfigError(f"scenario {where}: base.{key} is {shown(value)}, expected a value like {known[key]!r}")
