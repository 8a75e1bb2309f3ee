"""Models by the configurations in `tests/oracles/configs`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from continuum_sim.hardware import ModelSpec
from continuum_sim.hardware.hf import read_hf_config

FOLDER = Path(__file__).parents[1] / "oracles/configs"


@cache
def configured(name: str) -> ModelSpec:
    """Return the model of a folder there."""
    # Some are links to files of the catalogue, whose folder has another name.
    return replace(read_hf_config(FOLDER / name / "config.json"), name=name)


def names() -> list[str]:
    """Return the names of all folders there."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.json"))
