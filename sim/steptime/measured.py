"""Check whether step times were measured on the model, GPU and split that they are used for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from continuum_sim.hardware.catalogue import fold
from continuum_sim.hardware.gpus import GpuSpec, gpus
from continuum_sim.hardware.model_spec import ModelSpec


def measured_elsewhere(
    provenance: object, *, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int, owner: str
) -> list[str]:
    """Return a note for each of model, GPU and split that differs from the measured one.

    Parameters
    ----------
    provenance
        Where the step times were measured, as written by `calibrate` and in profiles.
    owner
        Start of the notes, such as `--step-time fitted:fit.json`.
    """
    if not isinstance(provenance, Mapping):
        return []
    said = {
        "model": (provenance.get("model"), model.name, _same_model(provenance.get("model"), model)),
        "GPU": (device := _device(provenance), gpu.name, device is None or _same_gpu(device, gpu)),
        "tensor parallel size": _split(provenance.get("tensor_parallel_size"), tensor_parallel_size),
    }
    return [
        f"{owner} was measured with the {what} {measured}, this run has {asked}: its times are not of this engine"
        for what, (measured, asked, same) in said.items()
        if not same
    ]


def _same_model(measured: object, model: ModelSpec) -> bool:
    if not isinstance(measured, str) or not measured:
        return True
    known = {fold(PurePath(name).name) for name in (model.name, *model.aliases)}
    return fold(PurePath(measured).name) in known


def _device(provenance: Mapping[Any, Any]) -> str | None:
    device = provenance.get("device", provenance.get("gpu"))
    return device if isinstance(device, str) and device != "as the server's" else None


def _same_gpu(device: str, gpu: GpuSpec) -> bool:
    """Compare the driver's name of a device, such as `NVIDIA A100-SXM4-80GB`, with the catalogue's."""
    words = _words(device)
    known = {card.name: _words(card.name) for card in gpus()} | {gpu.name: _words(gpu.name)}
    matching = [name for name, parts in known.items() if parts <= words]
    return gpu.name == max(matching, key=lambda name: len(known[name]), default=None)


def _words(name: str) -> set[str]:
    return {word.removesuffix("gb") for word in re.findall(r"[a-z0-9]+", name.casefold())}


def _split(measured: object, size: int) -> tuple[object, int, bool]:
    return measured, size, not isinstance(measured, int) or measured == size
