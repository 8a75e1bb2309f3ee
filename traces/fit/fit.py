"""Fit distributions to a trace."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.fit.alike import intraclass_correlation
from continuum_sim.traces.fit.gaps import LEAST_CALLS, fit_gaps
from continuum_sim.traces.fit.gather import Sample, ToolSample
from continuum_sim.traces.fit.model import Breaks, Correlation, FitSource, Prefix, ToolFit, TraceFit
from continuum_sim.traces.fit.quantiles import Quantiles
from continuum_sim.traces.load import read_programs, trace_sha256
from continuum_sim.traces.schema import Program

_MOST_PREFIXES: Final = 50


def fit_trace(
    path: str | os.PathLike[str],
    *,
    about: str = "",
    limit: int | None = None,
    watch: Callable[[Iterator[Program]], Iterator[Program]] = lambda programs: programs,
) -> TraceFit:
    """Fit a trace file; reads it once, and keeps some forty bytes per turn.

    Parameters
    ----------
    path
        The trace; see `find_trace` for names.
    about
        Where it came from and under which licence, for users of the fit.
    limit
        Number of programs to read, from the first on; by default all.
    watch
        Sees the programs pass by, to show progress.

    Raises
    ------
    TraceError
        If the trace is not valid.
    """
    sample = Sample()
    for program in watch(read_programs(path, limit=limit)):
        sample.add(program)
    source = FitSource(
        trace=Path(path).name,
        sha256=trace_sha256(path),
        programs=sample.programs,
        children=sample.members - sample.programs,
        turns=sum(turns * programs for turns, programs in sample.turns.items()),
        about=about,
    )
    return fit_sample(sample, source)


def fit_programs(programs: Iterable[Program], source: FitSource) -> TraceFit:
    """Fit programs that do not come from a file.

    Raises
    ------
    TraceError
        If there are no programs.
    """
    sample = Sample()
    for program in programs:
        sample.add(program)
    return fit_sample(sample, source)


def fit_sample(sample: Sample, source: FitSource) -> TraceFit:
    """Fit distributions to a sample.

    Raises
    ------
    TraceError
        If the sample is empty.
    """
    if not sample.programs:
        raise TraceError("no program to fit, expected at least one")
    names = sorted(sample.tools, key=lambda name: (-sample.tools[name].calls, name))
    rare = _rare([sample.tools[name] for name in names])
    tools = {name: _tool(sample.tools[name], full=_is_frequent(sample.tools[name])) for name in names}
    samples = list(sample.tools.values())
    return TraceFit(
        turns=dict(sorted(sample.turns.items())),
        first_prompt_tokens=Quantiles.of(sample.first_prompt_tokens),
        first_tools=_by_count(sample.first_tools),
        tools=tools,
        rare_tools=_tool(rare, full=True) if rare.calls else None,
        last_output_tokens=Quantiles.of(sample.last_output_tokens),
        breaks=_breaks(sample),
        correlation=Correlation(
            new_tokens=intraclass_correlation([(tool.new_tokens, tool.new_program) for tool in samples]),
            output_tokens=intraclass_correlation([(tool.output_tokens, tool.output_program) for tool in samples]),
        ),
        shared_prefixes=_prefixes(sample),
        longest_context_tokens=sample.longest_context_tokens,
        source=source,
    )


def _rare(tools: list[ToolSample]) -> ToolSample:
    """Merge the tools with few calls."""
    rare = ToolSample()
    for tool in tools:
        if not _is_frequent(tool):
            rare.add(tool)
    if rare.calls and not rare.new_tokens:
        # No prompt after these tools kept its whole context; a drawn one that does has nothing new.
        rare.new_tokens.append(0)
        rare.new_program.append(0)
    return rare


def _is_frequent(tool: ToolSample) -> bool:
    return tool.calls >= LEAST_CALLS and bool(tool.new_tokens)


def _tool(sample: ToolSample, *, full: bool) -> ToolFit:
    followed_by = _by_count(sample.followed_by)
    if not full:
        return ToolFit(sample.calls, followed_by)
    return ToolFit(
        calls=sample.calls,
        followed_by=followed_by,
        gap_s=fit_gaps(sample.gap_s),
        output_tokens=Quantiles.of(sample.output_tokens),
        new_tokens=Quantiles.of(sample.new_tokens),
    )


def _breaks(sample: Sample) -> Breaks:
    def quantiles(values: array[float]) -> Quantiles | None:
        return Quantiles.of(values) if values else None

    turns = max(sample.later_turns, 1)
    return Breaks(
        output_share=len(sample.lost_output_share) / turns,
        lost_output_share=quantiles(sample.lost_output_share),
        lost_output_new_tokens=quantiles(sample.lost_output_new_tokens),
        cut_share=len(sample.cut_kept_share) / turns,
        cut_kept_share=quantiles(sample.cut_kept_share),
        cut_refill=quantiles(sample.cut_refill),
    )


def _prefixes(sample: Sample) -> tuple[Prefix, ...]:
    """Return the most common prefixes, without their names, which may identify their owner."""
    # A prefix of a single program is not shared.
    common = sorted((tokens for tokens in sample.prefixes.values() if len(tokens) > 1), key=len, reverse=True)
    return tuple(
        Prefix(len(tokens) / sample.members, round(float(np.median(tokens)))) for tokens in common[:_MOST_PREFIXES]
    )


def _by_count(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
