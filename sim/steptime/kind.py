"""How step-time models register, and how one is made from `NAME` or `NAME:ARGUMENT`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.names import check_names
from continuum_sim.steptime.model import StepTime

COMMON_SETTINGS: Final = (
    *("cudagraph_mode", "max_cudagraph_capture_size", "piecewise_layer_s", "eager_layer_s", "host_s"),
    *("error", "factor"),
)
"""Settings that every model takes beside its own; see `common`."""


class StepTimeFactory(Protocol):
    """Makes a step-time model from the text after its name and the colon, empty if there is none."""

    def __call__(self, argument: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> StepTime:
        """Make the model, or raise ConfigError."""


@dataclass(frozen=True)
class StepTimeKind:
    """One kind of step-time model, registered in the file that defines the model."""

    name: str
    make: StepTimeFactory
    one_gpu: bool = False
    """Whether it was measured on one kind of GPU and ignores which GPU is asked for."""
    kv_dtypes: bool = True
    """Whether its times depend on the bytes per element of the KV cache."""
    of_engine: bool = False
    """Whether whole steps of an engine were measured, so that it has no stages of its own."""
    kernels: bool = False
    """Whether it times kernels alone, so that the host may be slower in launching them."""


def refuse_link(parallel: Parallel, owner: str) -> None:
    """Refuse links for step times that hold the communication of the engine they were measured on.

    Raises
    ------
    ConfigError
        If any is given.
    """
    for name in ("link", "node_link"):
        if getattr(parallel, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')}: {owner} were measured on an engine, whose links are in them: leave it out"
            )


def read_settings(text: str, known: Sequence[str], owner: str) -> dict[str, float]:
    """Parse `key=number,key=number`.

    Raises
    ------
    ConfigError
        For an unknown setting, or a value that is not a number.
    """
    values = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, sign, number = (part.strip() for part in item.partition("="))
        if not sign:
            raise ConfigError(f"step-time model {owner}: {item!r} is not of the form key=number")
        check_names([key], (*known, *COMMON_SETTINGS), "setting", of=f"step-time model {owner}", error=ConfigError)
        try:
            values[key] = float(number)
        except ValueError:
            raise ConfigError(f"step-time model {owner}: {key} is {number!r}, expected a number") from None
    return values


def read_path(argument: str, name: str, what: str) -> Path:
    """Return the path that a model needs.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if not argument:
        raise ConfigError(f"step-time model {name!r} needs a path: write {name}:{what}")
    return Path(argument).expanduser()
