"""`--replicas`: number of engines in a cluster, and the GPU and memory tiers of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, find_gpu
from continuum_sim.setup.setting_types import Replicas

_MOST = 4096
"""Most replicas accepted; a larger number is more likely a typo than a cluster."""

TIER_SETTINGS: Final = ("dram_gb", "dram_gbps", "ssd_gb", "ssd_gbps")
"""Settings that may differ between replicas."""

_FORM: Final = "a number or GPU:NUMBER,… as in h100:2,a100-80:4"


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica as the user asked for it."""

    gpu: GpuSpec
    tiers: Mapping[str, float] = field(default_factory=dict)
    """Overrides of `TIER_SETTINGS` for this replica."""

    @property
    def name(self) -> str:
        """GPU name plus any overrides; replicas of the same name are identical."""
        own = ",".join(f"{name}={value:g}" for name, value in sorted(self.tiers.items()))
        return f"{self.gpu.name}:{own}" if own else self.gpu.name


def parse_replicas(replicas: Replicas, gpu: GpuSpec) -> tuple[ReplicaSpec, ...]:
    """Return one spec per replica; a bare number means replicas of `gpu`.

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
    """Split at commas, keeping each `name=value` with the GPU before it, as for a policy's parameters."""
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
            f"replicas is {text!r}: {digits.strip()!r} is not a whole number; write 4, or GPU:NUMBER,… as in "
            "h100:2,a100-80:4"
        ) from None
    return _checked(number, text)


def _checked(number: int, given: object) -> int:
    if not 1 <= number <= _MOST:
        raise ConfigError(f"replicas is {given!r}, expected from 1 to {_MOST} of them")
    return number
