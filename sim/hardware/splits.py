"""A split in one line, `tp=2,dp=8,ep`: as on the command line, and in what is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.names import check_names

_SIZES: Final = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "nodes": "nodes",
}
GPU_COUNTS: Final = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
"""Settings whose product is the number of GPUs."""
_EXPERTS: Final = "ep"
"""Stands for whole experts on each GPU."""


def parse_split(text: str) -> Parallel:
    """Return the split that `tp=2,dp=8,ep` names; sizes left out are 1.

    Raises
    ------
    ConfigError
        For an unknown name, or a size that is no whole number of at least 1.
    """
    sizes: dict[str, Any] = {}
    whole = False
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, sign, number = (word.strip() for word in part.partition("="))
        if name == _EXPERTS and not sign:
            whole = True
            continue
        check_names([name], [*_SIZES, _EXPERTS], "part", of=f"split {text!r}", error=ConfigError)
        if name == _EXPERTS or not number.isdecimal():
            raise ConfigError(f"split is {text!r}: {part!r} is unexpected, write tp=8, or tp=2,pp=2,dp=4,ep")
        sizes[_SIZES[name]] = int(number)
    return Parallel(**sizes, enable_expert_parallel=whole)


def split_text(parallel: Parallel) -> str:
    """Return a split as `parse_split` reads it; empty for one GPU."""
    sizes = [f"{short}={size}" for short, name in _SIZES.items() if (size := getattr(parallel, name)) > 1]
    return ",".join([*sizes, *([_EXPERTS] if parallel.enable_expert_parallel else [])])


def split_of(manifest: Mapping[str, Any]) -> Parallel:
    """Return the split of each replica of a run, from its manifest."""
    sizes: dict[str, Any] = {name: int(manifest.get(name, 1)) for name in _SIZES.values()}
    return Parallel(**sizes, enable_expert_parallel=bool(manifest.get("enable_expert_parallel")))


def gpus_text(parallel: Parallel, gpu: str) -> str:
    """Return the GPUs of one replica: `H100`, `4 × H100`, or `16 × H100 (tp=8,pp=2)`."""
    if parallel.gpus == 1:
        return gpu
    told = split_text(parallel)
    return f"{parallel.gpus} × {gpu}" + ("" if told == f"tp={parallel.gpus}" else f" ({told})")
