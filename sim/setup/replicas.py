"""`--replicas`: how many engines a cluster has, of which GPUs, and what memory tiers each has below its KV cache."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, find_gpu
from continuum_sim.setup.setting_types import Replicas

_MOST = 4096
"""Replicas beyond which a slip of the finger is likelier than a cluster."""

TIER_SETTINGS: Final = ("dram_gb", "dram_gbps", "ssd_gb", "ssd_gbps")
"""Settings that replicas may have of their own."""

_FORM: Final = "a number or GPU:NUMBER,… as in h100:2,a100-80:4"


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica as it was asked for."""

    gpu: GpuSpec
    tiers: Mapping[str, float] = field(default_factory=dict)
    """Those of `TIER_SETTINGS` that are not as for all others."""

    @property
    def name(self) -> str:
        """GPU and own settings: replicas of one name are alike."""
        own = ",".join(f"{name}={value:g}" for name, value in sorted(self.tiers.items()))
        return f"{self.gpu.name}:{own}" if own else self.gpu.name


def parse_replicas(replicas: Replicas, gpu: GpuSpec) -> tuple[ReplicaSpec, ...]:
    """Return what every replica is; of `gpu` where only a number is given.

    Raises
    ------
    ConfigError
        For a number below 1, an unknown GPU or setting, or a value out of range.
    """
    if isinstance(replicas, int) and not isinstance(replicas, bool):
        return (ReplicaSpec(gpu),) * _checked(replicas, replicas)
    if isinstance(replicas, str):
        return _parse(replicas, gpu)
    if isinstance(replicas, bool) or not replicas:
        raise ConfigError(f"replicas is {replicas!r}, expected a number, GPU:NUMBER,… or a list of GPUs")
    return tuple(
        one for item in replicas for one in ((ReplicaSpec(item),) if isinstance(item, GpuSpec) else _parse(item, gpu))
    )


def _parse(text: str, gpu: GpuSpec) -> tuple[ReplicaSpec, ...]:
    if ":" not in text and "," not in text and not text.strip()[:1].isalpha():
        return (ReplicaSpec(gpu),) * _number(text, text)
    found: list[ReplicaSpec] = []
    for item in _items(text):
        name, *rest = item
        number = 1
        if rest and "=" not in rest[0]:
            number = _number(rest.pop(0), text)
        found += [ReplicaSpec(find_gpu(name), _tiers(rest, text))] * number
    _checked(len(found), text)
    return tuple(found)


def _items(text: str) -> list[list[str]]:
    """Split at commas, but for settings, which belong to the GPU before them, as a policy's parameters do."""
    items: list[list[str]] = []
    for part in text.split(","):
        parts = [word.strip() for word in part.split(":")]
        if not all(parts):
            raise ConfigError(f"replicas is {text!r}, expected {_FORM}")
        if "=" in parts[0] and items:
            items[-1] += parts
        else:
            items.append(parts)
    return items


def _tiers(settings: Sequence[str], text: str) -> dict[str, float]:
    tiers: dict[str, float] = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or name not in TIER_SETTINGS:
            raise ConfigError(
                f"replicas is {text!r}: {setting!r} is unexpected, expected GPU:NUMBER and then any of "
                f"{', '.join(f'{known}=…' for known in TIER_SETTINGS)}"
            )
        try:
            tiers[name] = float(value)
        except ValueError:
            tiers[name] = math.nan
        least = "0 or more GB" if name.endswith("_gb") else "more than 0 GB/s"
        if not (math.isfinite(tiers[name]) and (tiers[name] > 0 or (tiers[name] == 0 and name.endswith("_gb")))):
            raise ConfigError(f"replicas is {text!r}: {name} is {value.strip()!r}, expected {least}")
    return tiers


def _number(digits: str, text: str) -> int:
    try:
        number = int(digits)
    except ValueError:
        raise ConfigError(
            f"replicas is {text!r}: {digits.strip()!r} is no whole number; write 4, or GPU:NUMBER,… as in "
            "h100:2,a100-80:4"
        ) from None
    return _checked(number, text)


def _checked(number: int, given: object) -> int:
    if not 1 <= number <= _MOST:
        raise ConfigError(f"replicas is {given!r}, expected from 1 to {_MOST} of them")
    return number
