"""Summarise a trace: the numbers a reader wants before simulating it."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.schema import Program

if TYPE_CHECKING:
    import pandas as pd

_NO_VALUES: Final = array("d")


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """A sample in seven numbers, in the sample's unit; all 0 for an empty one.

    ``sd`` is the population's (divisor n). Quantiles interpolate linearly.
    """

    mean: float
    sd: float
    min: float
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class ToolStats:
    """The calls of one tool.

    Attributes
    ----------
    tool
        Name of the tool, and how often it was called.
    duration_s
        Seconds per call.
    total_s
        Seconds of all its calls.
    time_share
        ``total_s`` as a share of the tool time of the whole trace.
    slowest_tenth_share
        Share of ``total_s`` due to its slowest 10 % of calls (rounded up): how heavy the tail is.
    """

    tool: str
    calls: int
    duration_s: SampleSummary
    total_s: float
    time_share: float
    slowest_tenth_share: float


@dataclass(frozen=True, slots=True)
class LongestCall:
    """One tool call and its place in the trace."""

    program_id: str
    turn: int
    tool: str
    tool_s: float


@dataclass(frozen=True, slots=True)
class TraceStats:
    """Summary of a trace.

    Attributes
    ----------
    programs, children, turns
        Counts; sub-agents count as ``children``, not as ``programs``. Every other number treats them as programs.
    programs_with_arrival
        Programs that carry ``arrival_s``.
    parallel_gaps
        Turns that call several tools at once.
    turns_per_program
        Turns of each program.
    final_context_tokens, max_context_tokens
        Prompt + output of each program's last turn, and of its largest one (they differ if the
        context was compacted).
    total_tokens_per_program
        Prompt + output, summed over each program's turns.
    input_tokens, new_tokens, output_tokens
        Per turn; new tokens are the prompt tokens that the previous turn did not leave behind.
    kept_share
        Share of all prompt tokens that the previous turn left behind: the most that reuse between turns
        can save.
    broken_prefixes
        Turns other than the first that keep less than the previous turn's whole prompt + output.
    tool_s
        Per tool call; ``tool_s_total`` is their sum.
    longest_gap
        The longest tool call, ``None`` if the trace has none.
    tools
        One entry per tool, sorted by total time, longest first.
    """

    programs: int
    children: int
    turns: int
    programs_with_arrival: int
    parallel_gaps: int
    turns_per_program: SampleSummary
    final_context_tokens: SampleSummary
    max_context_tokens: SampleSummary
    total_tokens_per_program: SampleSummary
    input_tokens: SampleSummary
    new_tokens: SampleSummary
    output_tokens: SampleSummary
    kept_share: float
    broken_prefixes: int
    tool_s: SampleSummary
    tool_s_total: float
    longest_gap: LongestCall | None
    tools: tuple[ToolStats, ...]

    def tool_frame(self) -> pd.DataFrame:
        """Return ``tools`` as a data frame: one row per tool, the duration's summary as ``…_s`` columns."""
        import pandas as pd  # slow to import, and only needed here

        durations = [item.name for item in fields(SampleSummary)]
        columns = ["tool", "calls", *(f"{name}_s" for name in durations)]
        columns += ["total_s", "time_share", "slowest_tenth_share"]
        rows = [
            (
                *(tool.tool, tool.calls),
                *(getattr(tool.duration_s, name) for name in durations),
                *(tool.total_s, tool.time_share, tool.slowest_tenth_share),
            )
            for tool in self.tools
        ]
        return pd.DataFrame(rows, columns=columns)


def trace_stats(programs: Iterable[Program]) -> TraceStats:
    """Read ``programs`` once and summarise them; keeps eight bytes per number, not the programs.

    Raises
    ------
    TraceError
        If there is no program.
    """
    sample = _Sample()
    for program in programs:
        sample.programs += 1
        for member in program.family():
            sample.add(member)
    if not sample.turns_per_program:
        raise TraceError("no program to describe, expected at least one")
    return sample.stats()


def _array() -> array[float]:
    return array("d")


@dataclass(slots=True)
class _Sample:
    """The numbers of a trace, gathered program by program."""

    programs: int = 0
    parallel_gaps: int = 0
    programs_with_arrival: int = 0
    broken_prefixes: int = 0
    longest_gap: LongestCall | None = None
    turns_per_program: array[float] = field(default_factory=_array)
    final_context_tokens: array[float] = field(default_factory=_array)
    max_context_tokens: array[float] = field(default_factory=_array)
    total_tokens: array[float] = field(default_factory=_array)
    input_tokens: array[float] = field(default_factory=_array)
    new_tokens: array[float] = field(default_factory=_array)
    output_tokens: array[float] = field(default_factory=_array)
    tool_s: defaultdict[str, array[float]] = field(default_factory=lambda: defaultdict(_array))

    def add(self, program: Program) -> None:
        self.programs_with_arrival += program.arrival_s is not None
        self.turns_per_program.append(len(program.turns))
        self.final_context_tokens.append(program.turns[-1].context_tokens)
        self.max_context_tokens.append(program.max_context_tokens)
        self.total_tokens.append(program.total_tokens)
        left_tokens = 0
        for index, turn in enumerate(program.turns):
            self.input_tokens.append(turn.input_tokens)
            self.new_tokens.append(turn.new_tokens)
            self.output_tokens.append(turn.output_tokens)
            self.broken_prefixes += turn.kept_tokens < left_tokens
            left_tokens = turn.context_tokens
            self.parallel_gaps += len(turn.tools) > 1
            for call in turn.calls:
                self._add_gap(LongestCall(program.program_id, index, call.tool, call.tool_s))

    def _add_gap(self, gap: LongestCall) -> None:
        self.tool_s[gap.tool].append(gap.tool_s)
        if self.longest_gap is None or gap.tool_s > self.longest_gap.tool_s:
            self.longest_gap = gap

    def stats(self) -> TraceStats:
        all_tool_s = np.concatenate([np.asarray(_NO_VALUES), *map(np.asarray, self.tool_s.values())])
        total_s = float(all_tool_s.sum())
        tools = [_tool_stats(tool, np.asarray(calls), total_s) for tool, calls in self.tool_s.items()]
        return TraceStats(
            programs=self.programs,
            children=len(self.turns_per_program) - self.programs,
            turns=len(self.input_tokens),
            programs_with_arrival=self.programs_with_arrival,
            parallel_gaps=self.parallel_gaps,
            turns_per_program=_summary(self.turns_per_program),
            final_context_tokens=_summary(self.final_context_tokens),
            max_context_tokens=_summary(self.max_context_tokens),
            total_tokens_per_program=_summary(self.total_tokens),
            input_tokens=_summary(self.input_tokens),
            new_tokens=_summary(self.new_tokens),
            output_tokens=_summary(self.output_tokens),
            kept_share=1.0 - float(np.sum(self.new_tokens) / np.sum(self.input_tokens)),
            broken_prefixes=self.broken_prefixes,
            tool_s=_summary(all_tool_s),
            tool_s_total=total_s,
            longest_gap=self.longest_gap,
            tools=tuple(sorted(tools, key=lambda tool: (-tool.total_s, tool.tool))),
        )


def _tool_stats(tool: str, calls_s: np.ndarray, all_tools_s: float) -> ToolStats:
    total_s = float(calls_s.sum())
    slowest_tenth = np.sort(calls_s)[-math.ceil(len(calls_s) / 10) :]
    return ToolStats(
        tool=tool,
        calls=len(calls_s),
        duration_s=_summary(calls_s),
        total_s=total_s,
        time_share=total_s / all_tools_s if all_tools_s else 0.0,
        slowest_tenth_share=float(slowest_tenth.sum()) / total_s if total_s else 0.0,
    )


def _summary(values: array[float] | np.ndarray) -> SampleSummary:
    sample = np.asarray(values)
    if not sample.size:
        return SampleSummary(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    low, p50, p90, p99, high = np.percentile(sample, [0, 50, 90, 99, 100]).tolist()
    return SampleSummary(float(sample.mean()), float(sample.std()), low, p50, p90, p99, high)
