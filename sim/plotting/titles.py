"""What was run, in words: over a panel, and in a caption."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from continuum_sim.plotting.data import plain
from continuum_sim.plotting.held import varying

_SHOWN: Final = {"rate": "{} programs/s", "dram_gb": "{} GB DRAM", "gpu": "{}", "model": "{}", "trace": "{}"}
_WITHOUT_WORDS: Final = ("trace_id", "step_time_id")


def held_title(held: Mapping[str, Any]) -> str:
    """Say at which values of varying settings a picture was drawn; empty where nothing varied."""
    parts = []
    for name, value in held.items():
        if name not in _WITHOUT_WORDS:
            parts.append(_SHOWN.get(name, f"{name} {{}}").format(plain(value)))
    return ", ".join(parts)


def setting_of(cells: pd.DataFrame) -> str:
    """Say what all runs of a figure share: trace, model, GPU, arrivals; and their seeds."""
    differing = varying(cells)

    def shared(name: str) -> str | None:
        if name not in cells or name in differing:
            return None
        value = cells[name].iloc[0]
        return None if value is None or (isinstance(value, float) and math.isnan(value)) else plain(value)

    parts = [shared("trace")]
    if cells["programs"].nunique() == 1:
        parts.append(f"{cells['programs'].iloc[0]:,.0f} programs")
    model, gpu, gpus = shared("model"), shared("gpu"), shared("tensor_parallel_size")
    if model and gpu:
        parts.append(f"{model} on {gpus + ' ' if gpus not in (None, '1') else ''}{gpu}")
    rate, process = shared("rate"), shared("arrivals")
    if process:
        parts.append(f"arrivals {process}" + (f" at {rate} programs/s" if rate else ""))
    seeds = sorted(set(cells["seed"]))
    span = f"{seeds[0]}" if len(seeds) == 1 else _span(seeds)
    parts.append(f"seed{'s' if len(seeds) > 1 else ''} {span}")
    return ", ".join(part for part in parts if part)


def _span(seeds: list[int]) -> str:
    whole = seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]}-{seeds[-1]}" if whole else ", ".join(map(str, seeds))
