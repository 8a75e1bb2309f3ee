"""Named settings of published experiments: one TOML file each, in the shape of a sweep's file.

`[base]` holds settings of a run, `[grid]` the axes that were varied (`policy` first), `[scenario]` what it is, which
published figure it belongs to, and `choices`: what the publication leaves open, and why we fill it in as we do.

>>> import continuum_sim as cs
>>> cs.find_scenario("continuum-fig16-swe").policies
('lru', 'program-fifo', 'ttl-static', 'ttl')
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.catalogue import find, fold

_TABLES: Final = ("scenario", "base", "grid")
_ABOUT: Final = ("title", "published", "figures", "choices")


@dataclass(frozen=True)
class Scenario:
    """Settings of a run under a name."""

    name: str
    title: str
    published: str
    """What the publication says, in a sentence or two; empty for a scenario of our own."""
    figures: tuple[str, ...]
    """Names of the published figures to set its results beside (`continuum_sim.published`)."""
    base: Mapping[str, Any]
    """Settings, as keyword arguments of `run`."""
    grid: Mapping[str, tuple[Any, ...]]
    """Axes and their values: `policy`, `rate` (programs a second), or any setting of a run."""
    choices: Mapping[str, str]
    """Setting -> why it is what it is, where the publication is silent."""

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies to compare, the baseline first."""
        return tuple(self.grid.get("policy", ()))

    def axis(self, name: str) -> Any:
        """Return the values of an axis as the file has them: a list, or text in the notation of the command line."""
        values = self.grid[name]
        return values[0] if len(values) == 1 and isinstance(values[0], str) else list(values)


@cache
def scenarios() -> tuple[Scenario, ...]:
    """All scenarios of this package, by name."""
    found = sorted((path for path in files(__name__).iterdir() if path.name.endswith(".toml")), key=lambda p: p.name)
    return tuple(
        _scenario(path.name.removesuffix(".toml"), path.read_text(encoding="utf-8"), path.name) for path in found
    )


def find_scenario(name: str) -> Scenario:
    """Return the scenario of that name, or read the TOML file of that path.

    Raises
    ------
    ConfigError
        If there is none (with the nearest name), or for a file that is no scenario.
    """
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        try:
            return _scenario(path.stem, path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise ConfigError(f"scenario {name}: cannot be read ({reason})") from None
    if not name.strip():
        raise ConfigError("the scenario's name is empty: `continuum-sim scenarios` lists them")
    index = {fold(scenario.name): scenario for scenario in scenarios()}
    return find(name, index, "scenario", "`continuum-sim scenarios` lists them, or give a TOML file")


def _scenario(name: str, text: str, where: str) -> Scenario:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"scenario {where}: is not TOML ({error})") from None
    for table, value in raw.items():
        if table not in _TABLES or not isinstance(value, dict):
            raise ConfigError(f"scenario {where}: {table!r} is unexpected, expected the tables {', '.join(_TABLES)}")
    about, base, grid = (raw.get(table, {}) for table in _TABLES)
    for key in about:
        if key not in _ABOUT:
            raise ConfigError(f"scenario {where}: scenario.{key} is unknown, expected {', '.join(_ABOUT)}")
    _check_settings(where, base, grid)
    axes = {key: tuple(values) if isinstance(values, list) else (values,) for key, values in grid.items()}
    return Scenario(
        name=name,
        title=str(about.get("title", name)),
        published=str(about.get("published", "")),
        figures=tuple(about.get("figures", ())),
        base=base,
        grid=axes,
        choices=about.get("choices", {}),
    )


def _check_settings(where: str, base: Mapping[str, Any], grid: Mapping[str, Any]) -> None:
    from continuum_sim.run_config import RunConfig

    known = {item.name: item.default for item in fields(RunConfig)}
    for table, settings, names in (("base", base, known.keys() - {"policy", "seed"}), ("grid", grid, {*known, "rate"})):
        for key in settings:
            if key not in names:
                index = {name: _Setting(name) for name in sorted(names)}
                find(key, index, f"setting of scenario {where}, table {table},", "")
    for key, value in base.items():
        kind = type(known[key])
        if kind is not type(None) and not isinstance(value, (int, float) if kind is float else kind):
            raise ConfigError(f"scenario {where}: base.{key} is {value!r}, expected a value like {known[key]!r}")


@dataclass(frozen=True)
class _Setting:
    name: str
