"""Counts that may or may not include a part: cached input, and reasoning."""

from __future__ import annotations

from typing import Any

from continuum_sim.traces.importers.fields import as_count
from continuum_sim.traces.importers.usage import Usage


def settled_usage(
    prompt: Any,
    output: Any,
    *,
    read: Any,
    made: Any = None,
    reasoning: Any = None,
    total: Any = None,
    cache_apart: bool,
    place: str,
) -> Usage:
    """Return whole prompt and whole output, using the total to find out what they include.

    Some providers include the tokens read from a cache (``read``) or written to it (``made``) in the prompt, others
    count them apart; the same holds for reasoning and the output. Whatever the total has beyond prompt and output was
    counted apart. If there is no total, or it matches no combination, ``cache_apart`` decides for the prompt, and
    reasoning counts as apart if it exceeds the output.

    Raises
    ------
    TraceError
        If a value is not a count.
    """
    inputs = as_count(prompt, f"{place}: input tokens")
    outputs = as_count(output, f"{place}: output tokens")
    cached = as_count(read or 0, f"{place}: tokens read from a cache")
    written = as_count(made or 0, f"{place}: tokens written to a cache")
    thought = as_count(reasoning or 0, f"{place}: reasoning tokens")
    reasoning_apart = thought > outputs
    left = as_count(total or 0, f"{place}: total tokens") - inputs - outputs
    for cache, think in ((False, False), (True, False), (False, True), (True, True)):
        if left == cache * (cached + written) + think * thought:
            cache_apart, reasoning_apart = cache, think
            break
    whole = inputs + cache_apart * (cached + written)
    return Usage(
        as_count(whole, f"{place}: the whole prompt", 1),
        outputs + reasoning_apart * thought,
        min(whole, cached),
        thought,
    )
