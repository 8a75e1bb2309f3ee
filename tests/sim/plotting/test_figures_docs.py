"""docs/figures.md: names every figure and flag, and its example of a figure of one's own works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import continuum_sim as cs
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


def test_the_example_of_a_figure_of_ones_own(one_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"```python\n(# queue_share.*?)```", PAGE, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(block[1], names)
    figure = names["FIGURE"]
    monkeypatch.setattr(registry, "all_figures", lambda: {figure.name: figure})
    (panel,) = cs.figure("queue-share", one_run).axes
    summary = cs.load_run(one_run).summary
    assert panel.patches[0].get_height() == pytest.approx(summary.time_share.queue)  # type: ignore[attr-defined]
