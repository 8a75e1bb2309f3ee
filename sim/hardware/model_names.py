"""Find a model by what people call it: `qwen3-coder-480b` for Qwen3-Coder-480B-A35B-Instruct.

A name is a row of parts: words, versions, sizes. What is asked for may leave out sizes, active sizes, dates and
`-Instruct`, and spell what is left in any way. Words are never left out: GLM-4.7 is not GLM-4.7-Flash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeVar

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.catalogue import Named
from continuum_sim.names import clipped

T = TypeVar("T", bound=Named)

_PART: Final = re.compile(r"a\d[\d.]*b|v\d[\d.]*|\d[\da-z.]*|[a-z]+")
"""Active sizes and versions as one; between a word and its number (`qwen3`, `qwen-3`) nothing is needed."""
_SILENT: Final = re.compile(r"a?(\d+x)?\d[\d.]*b|\d+e|2[45]\d\d|instruct|chat|it")
"""Parts that may be left out: sizes, experts, dates such as 2507, and what a model was trained for."""
_MOST_LISTED: Final = 8


def find_by_parts(name: str, entries: Iterable[T]) -> tuple[T | None, list[T]]:
    """Return the entry that a shortened name means, and all entries that have all of its parts.

    Raises
    ------
    ConfigError
        If it means several, or none and is part of several, with their names.
    """
    asked = _parts(name)
    having: dict[str, tuple[T, list[list[str]]]] = {}
    for entry in entries if asked else ():
        if spelt := [parts for parts in map(_parts, (entry.name, *entry.aliases)) if _within(asked, parts)]:
            having[entry.name] = entry, spelt
    meant: list[str] = []
    for each, (entry, spelt) in having.items():
        if short := [parts for parts in spelt if all(map(_SILENT.fullmatch, _left_out(asked, parts)))]:
            meant.append(each)
            # Qwen3-30B-A3B rather than its copies, whose names go on where this one ends.
            if all(any(_within(a, b) for a in short for b in others) for _, others in having.values()):
                return entry, [entry]
    if len(several := meant if len(meant) > 1 else list(having)) > 1:
        more = f" and {len(several) - _MOST_LISTED} more" if len(several) > _MOST_LISTED else ""
        raise ConfigError(f"model {clipped(name)!r} is several: {', '.join(several[:_MOST_LISTED])}{more}; name one")
    return None, [entry for entry, _ in having.values()]


def _parts(name: str) -> list[str]:
    return _PART.findall(name.rsplit("/", 1)[-1].casefold())


def _within(few: list[str], many: list[str]) -> bool:
    """Return whether the parts `few` are among `many`, in that order."""
    rest = iter(many)
    return all(part in rest for part in few)


def _left_out(asked: list[str], parts: list[str]) -> list[str]:
    left, wanted = [], iter(asked)
    next_asked = next(wanted, None)
    for part in parts:
        if part == next_asked:
            next_asked = next(wanted, None)
        else:
            left.append(part)
    return left
