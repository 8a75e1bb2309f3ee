"""docs/figures.md: names every figure and flag."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

from continuum_sim.cli.figures import figures
from continuum_sim.plotting import registry

PAGE = (Path(__file__).parents[3] / "docs" / "figures.md").read_text()


def test_every_figure_is_named() -> None:
    table = PAGE[PAGE.index("## What there is") : PAGE.index("## What the numbers are")]
    assert [name for name in registry.all_figures() if f"`{name}`" not in table] == []


def test_every_flag_is_explained() -> None:
    names = [name for name in get_type_hints(figures) if name not in ("return", "context", "directories", "json")]
    renamed = {"formats": "format", "list_figures": "list"}
    assert len(names) > 5
    flags = [f"--{renamed.get(name, name).replace('_', '-')}" for name in names]
    assert [flag for flag in flags if flag not in PAGE] == []
