"""The parts of manifests that are read back, with their types: a results file may come from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec

from continuum_sim.errors import ConfigError, shown
from continuum_sim.readers import convert, read_json

SCHEMA_VERSION: Final = 1
"""Version of the layout of results directories, written to every manifest. A change of meaning raises it, and earlier
versions must stay readable; an addition does not need a new version. A manifest without it is of version 1."""

_Object = dict[str, Any]
T = TypeVar("T")


class TierParts(msgspec.Struct):
    """Memory tiers of an engine."""

    dram_blocks: int = 0
    ssd_blocks: int = 0
    block_bytes: int = 0


class EngineParts(msgspec.Struct):
    """The engine's settings."""

    tiers: TierParts | None = None


class ManifestParts(msgspec.Struct):
    """The manifest of a run; entries not named here are shown unchecked."""

    command: list[str] | None = None
    versions: dict[str, str | None] = {}
    policy: _Object = {}
    trace: _Object = {}
    model: _Object = {}
    gpu: _Object = {}
    engine_config: EngineParts | None = None
    step_time: _Object = {}
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    enable_expert_parallel: bool = False
    nodes: int = 1
    replica_settings: dict[str, _Object] = {}
    """In a cluster: replica -> its engine and step times."""
    settings: _Object | None = None
    """Settings as the user gave them; None in manifests of versions that did not store them."""
    objects: dict[str, str] = {}
    """Settings whose values were objects without a text form, and their types."""


class ComparisonParts(msgspec.Struct):
    """The manifest of a comparison."""

    runs: Annotated[list[str], msgspec.Meta(min_length=1)]
    seeds: Annotated[list[int], msgspec.Meta(min_length=1)]
    baseline: str
    command: list[str] | None = None
    versions: dict[str, str | None] = {}


def read_manifest(path: Path, kind: type[T]) -> tuple[dict[str, Any], T]:
    """Read a manifest: return it whole, and the parts that are used as `kind`.

    Raises
    ------
    ConfigError
        If it cannot be read, has a later layout than this version knows, or values of other types.
    """
    manifest = read_json(path)
    version = manifest.get("schema_version", 1) if isinstance(manifest, dict) else 1
    if not isinstance(version, int) or isinstance(version, bool) or version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: schema_version is {shown(version)}, and this version of continuum-sim reads up to "
            f"{SCHEMA_VERSION}; open it with the version that made it, or a later one"
        )
    return manifest, convert(manifest, kind, path)
