"""The pages say what the program does."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from continuum_sim.results.summary import Summary
from continuum_sim.results.tables import COLUMNS
from continuum_sim.setup.run_config import run_settings

ROOT = Path(__file__).parents[3]


def test_every_flag_is_explained() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    own = ["--scenario", "--seed", "--seeds", "--policy", "--policies", "--baseline", "--jobs"]
    own += ["--out", "--force", "--decisions", "--json", "--debug", "--from", "--set"]
    shared = [flag for item in run_settings().values() for flag in item.listed]
    assert set(own + shared) <= set(re.findall(r"--[a-z0-9-]+", page))


def test_every_key_and_column_is_explained() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    names = [*_keys(msgspec.inspect.type_info(Summary)), *(column for table in COLUMNS.values() for column in table)]
    assert {"jct_s", "p95", "broken", "link_busy_share", "pins_moved"} <= set(names)
    assert [name for name in names if f"`{name}`" not in page] == []


def _keys(kind: msgspec.inspect.Type) -> Iterator[str]:
    """Return the keys of `summary.json` and of all its parts."""
    if isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:
            yield from _keys(one)
    elif isinstance(kind, msgspec.inspect.ListType):
        yield from _keys(kind.item_type)
    elif isinstance(kind, msgspec.inspect.StructType):
        for field in kind.fields:
            yield field.name
            yield from _keys(field.type)


def test_every_package_is_installed() -> None:
    """A folder missing from pyproject works in a checkout and is absent from the wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = set()
    for name, folder in settings["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inside = init.parent.relative_to(ROOT / folder)
            found.add(".".join([name, *inside.parts]))
    assert found == set(settings["packages"])
