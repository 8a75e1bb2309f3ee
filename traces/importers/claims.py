"""What an import reports of where its numbers come from: a format's fields, as far as these files had them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program

_NO_NAMES: Final = frozenset((None, "unknown", "client", "delay"))
"""Importers' names for a gap whose length alone is known, or for no gap."""
_BETWEEN: Final = re.compile(r", | and ")


@dataclass
class Seen:
    """What the programs of an import turned out to have."""

    programs: int = 0
    timed: int = 0
    """Programs with an arrival time."""
    turns: int = 0
    fields: set[str] = field(default_factory=set)
    """Those of ``tool``, ``shared_prefix`` and ``children`` that any program has."""

    def take(self, program: Program) -> None:
        """Record what one program has."""
        self.programs += 1
        self.timed += program.arrival_s is not None
        for member in program.family():
            self.turns += len(member.turns)
            if member.shared_prefix is not None:
                self.fields.add("shared_prefix")
            if member.children:
                self.fields.add("children")
            if "tool" not in self.fields and any(turn.tool not in _NO_NAMES for turn in member.turns):
                self.fields.add("tool")


class Claims(NamedTuple):
    """The lists of a trace's header, see `continuum_sim.traces.header.TraceHeader`."""

    measured: tuple[str, ...]
    derived: tuple[str, ...]
    missing: tuple[str, ...]


def claims(importer: Importer, state: ImportState, seen: Seen) -> Claims:
    """Return those of the format's claims that hold for these files.

    A field that none of them had moves from ``measured`` to ``missing``; one that some had is given with its share.
    """
    absent = _absent(state, seen)
    shares = {
        "tool_s": _share(state.gaps - state.unknown_gaps, state.gaps, "gaps"),
        "arrival_s": _share(seen.timed, seen.programs, "programs"),
    }
    derived = [_without(entry, {*absent, *({"shared_prefix", "children"} - seen.fields)}) for entry in importer.derived]
    claimed = {name for entry in (*importer.measured, *importer.derived) for name in _names(entry)}
    missing = [entry for entry in importer.missing if not (_names(entry) & claimed and not _names(entry) & {*absent})]
    told = {name for entry in missing for name in _names(entry)}
    missing += [why for name, why in absent.items() if name in claimed - told]
    return Claims(_kept(importer.measured, absent, shares), tuple(entry for entry in derived if entry), tuple(missing))


def _absent(state: ImportState, seen: Seen) -> dict[str, str]:
    """Return the fields that no record had, each with what replaces it."""
    untrue = sorted(state.not_measured)
    absent = {name: f"{name}: recorded too low at times, see what was adjusted" for name in untrue}
    if not state.gaps:
        absent["tool_s"] = "tool_s: programs of one turn have no gaps"
    elif state.unknown_gaps == state.gaps:
        absent["tool_s"] = "tool_s: no times in these files, 0 everywhere"
    if not seen.timed:
        absent["arrival_s"] = "arrival_s: no times in these files"
    if state.gaps and "tool" not in seen.fields:
        absent["tool"] = "tool: no names in these files"
    return absent


def _kept(entries: Iterable[str], absent: Mapping[str, str], shares: Mapping[str, str]) -> tuple[str, ...]:
    kept = []
    for entry in entries:
        rest = _without(entry, absent)
        name, colon, how = rest.partition(":")
        if rest:
            kept.append(f"{name}{shares.get(name, '')}{colon}{how}")
    return tuple(kept)


def _names(entry: str) -> set[str]:
    return set(_BETWEEN.split(entry.partition(":")[0]))


def _without(entry: str, absent: Iterable[str]) -> str:
    """Return the entry for the fields that are present; empty if none is."""
    heads, colon, how = entry.partition(":")
    names = _BETWEEN.split(heads)
    kept = [name for name in names if name not in absent]
    return entry if kept == names else f"{' and '.join(kept)}{colon}{how}" if kept else ""


def _share(known: int, all_of_them: int, what: str) -> str:
    return "" if known == all_of_them else f" (of {known:,} of {all_of_them:,} {what})"
