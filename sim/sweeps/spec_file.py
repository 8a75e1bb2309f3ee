"""A sweep in a TOML file: `[base]` for all cells, `[grid]` for the axes, `[[cells]]` for settings that go together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.readers import read_toml
from continuum_sim.sweeps.check_settings import check_axes, check_base
from continuum_sim.sweeps.plan import SweepSpec

_TABLES = ("base", "grid", "cells")
_ABOUT = "scenario"
"""Table that describes a scenario; apart from it, a scenario's file is a sweep's file."""


def read_spec(path: Path) -> SweepSpec:
    """Read the specification of a sweep from a file.

    Raises
    ------
    ConfigError
        Naming the file, the table and what was expected.
    """
    try:
        raw = read_toml(path)
    except ConfigError as error:
        raise ConfigError(f"sweep {error}") from None
    for name in raw:
        if name not in (*_TABLES, _ABOUT):
            raise ConfigError(f"sweep {path}: unknown table {name!r}, expected {', '.join(_TABLES)}")
    cells = raw.get("cells", [])
    if not isinstance(cells, list) or not all(isinstance(item, dict) for item in cells):
        raise ConfigError(f"sweep {path}: cells is not a list of tables, expected [[cells]] headings")
    base, grid = _table(path, raw, "base"), _table(path, raw, "grid")
    check_base(f"sweep {path}", base)
    check_axes(f"sweep {path}", grid)
    for number, entry in enumerate(cells):
        check_axes(f"sweep {path}", entry, f"cells[{number}]")
    return SweepSpec(base, grid, cells)


def _table(path: Path, raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"sweep {path}: {name} is not a table, expected a [{name}] heading")
    return table
