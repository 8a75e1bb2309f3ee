"""A trace that can be shown: numbers instead of names, and times that match no log of the same work."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from continuum_sim.traces.check import MAX_SECONDS
from continuum_sim.traces.header import TraceHeader
from continuum_sim.traces.load import read_header, read_programs, trace_sha256
from continuum_sim.traces.schema import Program, ToolCall, Turn, tool_label
from continuum_sim.traces.write import write_programs

KEPT_TOOLS: Final = frozenset({"human"})
"""Names set by importers, not by users: the time a person takes between turns must not pass for a tool's."""
MOST_JITTER_S: Final = 0.5
"""Largest shift of a tool time, up or down; it never exceeds half of that time."""
_FORMATS: Final = ("continuum", "generated", "mixed")
"""Formats of headers that no importer wrote."""
_FIELDS: Final = re.compile(r"\b(?:input_tokens|kept_tokens|output_tokens|tool_s|arrival_s|shared_prefix)\b")
_SECOND_US: Final = 10**6
_DONE: Final = "names: numbers in the order they come in; arrival_s and tool_s: moved at random by less than a second"


class Anonymizer:
    """Removes names from programs and shifts their times.

    Programs become `program-1`, `program-2`, … in their order, sub-agents `program-1/1` and so on, tools `tool-1`, …
    and shared prefixes `prefix-1`, …, the same name always the same number. Token counts stay.

    Arrivals move by 0 to 1 s, as if the clock had run unevenly: their order stays, and equal arrivals stay equal.
    Tool times move up or down with equal chance, by up to `MOST_JITTER_S` and half of themselves; 0 s stays 0 s.

    Parameters
    ----------
    rng
        Draws the shifts.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._programs = 0
        self._tools: dict[str, str] = {name: name for name in KEPT_TOOLS}
        self._prefixes: dict[str, str] = {}
        key = int(rng.integers(2**63))
        # By how many microseconds the beginning of each second of the trace's clock moves.
        self._late_us = lru_cache(maxsize=1024)(
            lambda second: int(np.random.default_rng([key, second]).integers(_SECOND_US)) if second else 0
        )

    def apply(self, programs: Iterable[Program]) -> Iterator[Program]:
        """Yield the programs one by one, without what could identify their owner."""
        for program in programs:
            self._programs += 1
            yield self._program(program, f"program-{self._programs}")

    def _program(self, program: Program, name: str) -> Program:
        prefix = program.shared_prefix
        if prefix is not None:
            prefix = replace(prefix, id=self._prefixes.setdefault(prefix.id, f"prefix-{len(self._prefixes) + 1}"))
        return Program(
            name,
            tuple(map(self._turn, program.turns)),
            None if program.arrival_s is None else self._arrival_s(program.arrival_s),
            prefix,
            tuple(
                replace(child, program=self._program(child.program, f"{name}/{number}"))
                for number, child in enumerate(program.children, start=1)
            ),
        )

    def _turn(self, turn: Turn) -> Turn:
        if turn.tool is None:
            return turn
        if not turn.tools:
            return replace(turn, tool=self._tool(turn.tool), tool_s=self._moved_s(turn.tool_s))
        calls = tuple(ToolCall(self._tool(call.tool), self._moved_s(call.tool_s)) for call in turn.tools)
        label = tool_label(calls) if turn.tool == tool_label(turn.tools) else self._tool(turn.tool)
        return replace(turn, tool=label, tool_s=max(call.tool_s for call in calls), tools=calls)

    def _tool(self, name: str) -> str:
        return self._tools.setdefault(name, f"tool-{len(self._tools) - len(KEPT_TOOLS) + 1}")

    def _moved_s(self, tool_s: float) -> float:
        most_s = min(MOST_JITTER_S, tool_s / 2)
        moved_s = min(tool_s + float(self._rng.uniform(-most_s, most_s)), MAX_SECONDS)
        return round(moved_s, 6) or moved_s  # a time that was measured stays above 0

    def _arrival_s(self, arrival_s: float) -> float:
        """Shift an arrival time, in whole microseconds so that rounding cannot change the order."""
        second, rest_us = divmod(round(arrival_s * _SECOND_US), _SECOND_US)
        late_us = self._late_us(second)
        stretched_us = (self._late_us(second + 1) - late_us) * rest_us // _SECOND_US
        return min((second * _SECOND_US + rest_us + late_us + stretched_us) / _SECOND_US, MAX_SECONDS)


def anonymize_trace(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    watch: Callable[[Iterator[Program]], Iterator[Program]] = lambda programs: programs,
) -> int:
    """Write `path` to `out` as `Anonymizer` does; return the number of programs.

    Streams. The same file and seed give the same bytes. Knowing the seed is not enough to undo the shifts, because they
    depend on the whole file. Of a header it keeps only what importers say of any file.

    Parameters
    ----------
    path, out
        The trace to read and the one to write; see `write_programs` for how it is written.
    seed
        Seeds the shifts.
    watch
        Sees the programs pass by, to show progress.

    Raises
    ------
    TraceError
        If the trace is not valid; nothing is written then.
    """
    rng = np.random.default_rng([seed, int(trace_sha256(path), 16)])
    header = anonymous_header(read_header(path))
    return write_programs(out, Anonymizer(rng).apply(watch(read_programs(path))), header)


def anonymous_header(header: TraceHeader | None) -> TraceHeader:
    """Return a header that holds only our own words: importers' phrases, the format's fields, and counts."""
    from continuum_sim.traces.importers import importers

    if header is None:
        return TraceHeader("continuum", derived=(_DONE,))
    known = importers()
    phrases = {item for one in known.values() for item in (*one.measured, *one.derived, *one.missing)}

    def ours(items: Iterable[str]) -> tuple[str, ...]:
        said = (item if item in phrases else _fields(item) for item in items)
        return tuple(dict.fromkeys(filter(None, said)))

    return TraceHeader(
        header.format if header.format in {*known, *_FORMATS} else "continuum",
        ours(header.measured),
        (*ours(header.derived), _DONE),
        ours(header.missing),
        files=header.files,
        skipped=header.skipped,
    )


def _fields(item: str) -> str:
    """Return the fields named at the start of a phrase, or after a colon in it: its subject."""
    return next((", ".join(found) for part in item.split(":") if (found := _FIELDS.findall(part))), "")
