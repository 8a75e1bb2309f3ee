"""Read the catalogues shipped beside this file, and find an entry by any of its names."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, Protocol, TypeVar

import msgspec

from continuum_sim.errors import ConfigError
from continuum_sim.names import nearest, unknown

R = TypeVar("R")
T = TypeVar("T", bound="Named")
E = TypeVar("E", bound="Entry")


class Entry(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The spelling used in reports."""


class Named(Entry, Protocol):
    """Anything with a name and alternative spellings."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other accepted spellings."""


def read_catalogue(file: str, table: str, kind: type[R]) -> tuple[R, ...]:
    """Read the array of tables `table` from a TOML file of this package, as records of `kind`."""
    text = files("continuum_sim.hardware").joinpath(file).read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomllib.loads(text)[table]
    return tuple(msgspec.convert(row, kind, str_keys=True) for row in rows)


def by_name(entries: Iterable[T]) -> dict[str, T]:
    """Index entries by every spelling of their names, case-folded and normalised."""
    return {fold(spelling): entry for entry in entries for spelling in (entry.name, *entry.aliases)}


def find(name: str, index: Mapping[str, E], what: str, remedy: str) -> E:
    """Look an entry up by name, in any case and with or without the maker's name before it.

    Raises
    ------
    ConfigError
        Naming the nearest known name, if one is close.
    """
    for key in (fold(name), fold(name.rsplit("/", 1)[-1])):
        if key in index:
            return index[key]
    near = nearest(fold(name.rsplit("/", 1)[-1]), index)
    raise ConfigError(unknown(what, name, (), guess=None if near is None else index[near].name, remedy=remedy))


def fold(name: str) -> str:
    """Remove differences in spelling that never distinguish two entries."""
    folded = name.strip().casefold().replace("_", "-").replace(" ", "-")
    for maker in ("nvidia-", "geforce-", "amd-", "instinct-"):
        folded = folded.removeprefix(maker)
    return folded
