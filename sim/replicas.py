"""`--replicas`: how many engines a cluster has, and of which GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, find_gpu

Replicas = int | str | Sequence[str | GpuSpec]
"""A number of replicas alike, `h100:2,a100-80:4`, or one GPU a replica."""

_MOST = 4096
"""Replicas beyond which a slip of the finger is likelier than a cluster."""


def replica_gpus(replicas: Replicas, gpu: GpuSpec) -> tuple[GpuSpec, ...]:
    """Return the GPU of every replica; `gpu` where only a number is given.

    Raises
    ------
    ConfigError
        For a number below 1 or an unknown GPU.
    """
    if isinstance(replicas, int) and not isinstance(replicas, bool):
        return (gpu,) * _checked(replicas, replicas)
    if isinstance(replicas, str):
        return _parse(replicas, gpu)
    if isinstance(replicas, bool) or not replicas:
        raise ConfigError(f"replicas is {replicas!r}, expected a number, GPU:NUMBER,… or a list of GPUs")
    return tuple(item if isinstance(item, GpuSpec) else find_gpu(item) for item in replicas)


def _parse(text: str, gpu: GpuSpec) -> tuple[GpuSpec, ...]:
    if ":" not in text and "," not in text and not text.strip()[:1].isalpha():
        return (gpu,) * _number(text, text)
    found: list[GpuSpec] = []
    for item in text.split(","):
        name, sign, number = item.strip().partition(":")
        if not name or (sign and not number.strip()):
            raise ConfigError(f"replicas is {text!r}, expected a number or GPU:NUMBER,… as in h100:2,a100-80:4")
        found += [find_gpu(name)] * (_number(number, text) if sign else 1)
    _checked(len(found), text)
    return tuple(found)


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
