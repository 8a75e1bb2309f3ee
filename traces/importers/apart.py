"""Counts of which it is not said whether a part is in the whole: cached input, and reasoning."""

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
    """Return the whole prompt and the whole output, as the total tells.

    Some providers count what came from a cache (``read``) or went into it (``made``) in the prompt, others apart; so it
    is with reasoning and the output. What prompt and output leave of the total is what was counted apart. Where there
    is no total, or it fits neither, ``cache_apart`` decides for the prompt, and reasoning is apart if it is more than
    the output.

    Raises
    ------
    TraceError
        If something is no count.
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
