"""Acceptance by position, as a vLLM server counts it: the text of `/metrics`, or what `calibrate` made of it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Final

from continuum_sim.errors import ConfigError

_COUNTER: Final = re.compile(
    r"^vllm:spec_decode_num_(drafts|accepted_tokens_per_pos)(?:_total)?\{(.*)\} (\S+)$", re.MULTILINE
)
_POSITION: Final = re.compile(r'position="(\d+)"')
"""Names and labels of `SpecDecodingProm` (vllm/v1/spec_decode/metrics.py of 0.32 and 0.33)."""


def rates_of_file(text: str, source: str) -> tuple[float, ...]:
    """Return the rates that a file holds: one that `calibrate` wrote, or the text of `/metrics`.

    Raises
    ------
    ConfigError
        If it holds none.
    """
    if not text.lstrip().startswith("{"):
        return rates_of_metrics(text, source)
    try:
        return tuple(map(float, json.loads(text)["provenance"]["acceptance"]["rates"]))
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{source} holds no acceptance of drafts: calibrate an engine with --speculative-config"
        ) from None


def rates_of_metrics(text: str, source: str) -> tuple[float, ...]:
    """Return for each draft the share of steps that accepted it and those before, over all engines of the server.

    Raises
    ------
    ConfigError
        If the server has verified no drafts.
    """
    drafts = 0.0
    accepted: dict[int, float] = defaultdict(float)
    for name, labels, value in _COUNTER.findall(text):
        if name == "drafts":
            drafts += float(value)
        elif (found := _POSITION.search(labels)) is not None:
            accepted[int(found[1])] += float(value)
    if not drafts or sorted(accepted) != list(range(len(accepted))):
        raise ConfigError(
            f"{source} holds no counters of drafts (vllm:spec_decode_num_drafts_total): give /metrics of a vLLM server "
            "with speculative decoding that has served requests"
        )
    rates: list[float] = []
    for position in range(len(accepted)):
        rates.append(min(accepted[position] / drafts, *rates[-1:], 1.0))
    return tuple(rates)
