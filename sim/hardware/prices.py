"""Prices of GPU-hours: given by the user, otherwise from a dated list."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from continuum_sim.errors import ConfigError, shown
from continuum_sim.hardware.catalogue import read_catalogue
from continuum_sim.hardware.gpus import find_gpu

MOST_USD: Final = 1e6
"""Per GPU-hour; anything higher is a typo."""
ASKED: Final = "as given"


@dataclass(frozen=True)
class GpuPrice:
    """The price of one kind of GPU."""

    gpu: str
    """Its name in the catalogue."""
    usd_per_hour: float
    seller: str
    """Who charges it."""
    source: str = ""
    """Where the price was read; empty, like the next field, if the user gave it."""
    read: str = ""
    """When it was read, as YYYY-MM-DD."""


@dataclass(frozen=True)
class Prices:
    """Prices given by the user; the dated list has those of all other GPUs."""

    every_usd: float | None = None
    """Per GPU-hour, for all GPUs."""
    named_usd: Mapping[str, float] = field(default_factory=dict)
    """GPU -> its own price."""

    def of(self, gpu: str) -> GpuPrice | None:
        """Return the price of a GPU, in the catalogue or the user's own; None if unknown."""
        usd = self.named_usd.get(gpu, self.every_usd)
        return listed_prices().get(gpu) if usd is None else GpuPrice(gpu, usd, ASKED)


@cache
def listed_prices() -> Mapping[str, GpuPrice]:
    """GPU -> its price in the dated list."""
    return {price.gpu: price for price in read_catalogue("prices.toml", "price", GpuPrice)}


def parse_prices(value: float | str | Mapping[str, float] | None) -> Prices:
    """Parse US dollars per GPU-hour: one number for all GPUs, ``h100=2.5,a100-80=1.6``, or the same as a mapping.

    Raises
    ------
    ConfigError
        For an invalid price, or a GPU that is not in the catalogue.
    """
    if value is None:
        return Prices()
    if isinstance(value, Mapping):
        return Prices(named_usd={find_gpu(str(gpu)).name: _usd(usd) for gpu, usd in value.items()})
    if not isinstance(value, str) or "=" not in value:
        return Prices(_usd(value))
    named: dict[str, float] = {}
    for item in value.split(","):
        gpu, sign, usd = item.partition("=")
        if not sign:
            raise _no_price(item.strip())
        name = find_gpu(gpu).name
        if name in named:
            raise ConfigError(f"price of {name} appears twice, expected each GPU once")
        named[name] = _usd(usd)
    return Prices(named_usd=named)


def _usd(value: object) -> float:
    try:
        usd = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        usd = math.nan
    if not 0 <= usd <= MOST_USD:
        raise _no_price(value)
    return usd


def _no_price(value: object) -> ConfigError:
    return ConfigError(
        f"price is {shown(value)}, expected dollars per GPU-hour, from 0 to {MOST_USD:,.0f}: a number, or one per GPU "
        "as in h100=2.5,a100-80=1.6"
    )
