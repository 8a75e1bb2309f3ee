"""A sweep in a TOML file: `[base]` for all cells, `[grid]` for the axes, `[[cells]]` for settings that go together."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.sweeps.plan import SweepSpec

_TABLES = ("base", "grid", "cells")
_ABOUT = "scenario"
"""Says what a scenario is: its file is a sweep's file otherwise."""


def read_spec(path: Path) -> SweepSpec:
    """Read a sweep.

    Raises
    ------
    ConfigError
        Naming the file, the table and what was expected.
    """
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"sweep {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"sweep {path} is no TOML: {error}") from None
    for name in raw:
        if name not in (*_TABLES, _ABOUT):
            raise ConfigError(f"sweep {path}: unknown table {name!r}, expected {', '.join(_TABLES)}")
    cells = raw.get("cells", [])
    if not isinstance(cells, list) or not all(isinstance(item, dict) for item in cells):
        raise ConfigError(f"sweep {path}: cells is no list of tables, expected [[cells]] headings")
    return SweepSpec(_table(path, raw, "base"), _table(path, raw, "grid"), cells)


def _table(path: Path, raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"sweep {path}: {name} is no table, expected a [{name}] heading")
    return table
