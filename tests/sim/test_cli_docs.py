"""The pages say what the program does."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from continuum_sim.cli.options import RunFlags
from continuum_sim.results.summary import Summary
from continuum_sim.results.tables import COLUMNS

ROOT = Path(__file__).parents[2]


def test_every_flag_is_explained() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    own = ["--scenario", "--seed", "--seeds", "--policy", "--policies", "--baseline", "--jobs"]
    own += ["--out", "--force", "--decisions", "--json", "--debug", "--from", "--set"]
    shared = [f"--{flag.name.replace('_', '-')}" for flag in fields(RunFlags)]
    assert set(own + shared) <= set(re.findall(r"--[a-z-]+", page))


def test_every_key_and_column_is_explained() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    names = [*Summary.__struct_fields__, *(column for table in COLUMNS.values() for column in table)]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_package_is_installed() -> None:
    """A folder missing from pyproject works in a checkout and is absent from the wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = set()
    for name, folder in settings["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inside = init.parent.relative_to(ROOT / folder)
            found.add(".".join([name, *inside.parts]))
    assert found == set(settings["packages"])
