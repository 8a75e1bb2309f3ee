"""The notation of seeds: `0,1,2` or `0-9`."""

from __future__ import annotations

import re
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.names import clipped

_MOST_SEEDS: Final = 100_000


def parse_seeds(text: str) -> list[int]:
    """Return the seeds, in the order given.

    Raises
    ------
    ConfigError
        If `text` is not a list of whole numbers and ranges.
    """
    seeds: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", item, re.ASCII)
        first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if last < first:
            raise ConfigError(f"seeds are {clipped(text)!r}, expected whole numbers or ranges, as in 0,1,2 or 0-9")
        if len(seeds) + last - first >= _MOST_SEEDS:
            raise ConfigError(f"seeds are {clipped(text)!r}, expected at most {_MOST_SEEDS:,} of them")
        seeds.extend(range(first, last + 1))
    return seeds
