"""What is read of the manifest of a run or a comparison, and its types: a file of results may come from anywhere."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

_Object = dict[str, Any]


class TierParts(msgspec.Struct):
    """Memory tiers of an engine."""

    dram_blocks: int = 0
    ssd_blocks: int = 0
    block_bytes: int = 0


class EngineParts(msgspec.Struct):
    """The engine's settings."""

    tiers: TierParts | None = None


class ManifestParts(msgspec.Struct):
    """The manifest of a run; what is not named here is shown as it is."""

    command: list[str] | None = None
    versions: dict[str, str | None] = {}
    policy: _Object = {}
    trace: _Object = {}
    model: _Object = {}
    gpu: _Object = {}
    engine_config: EngineParts | None = None
    step_time: _Object = {}
    tensor_parallel_size: int = 1


class ComparisonParts(msgspec.Struct):
    """The manifest of a comparison."""

    runs: Annotated[list[str], msgspec.Meta(min_length=1)]
    seeds: Annotated[list[int], msgspec.Meta(min_length=1)]
    baseline: str
    command: list[str] | None = None
    versions: dict[str, str | None] = {}
