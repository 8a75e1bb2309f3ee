"""Generators of traces from published or fitted figures, one file a workload."""

from __future__ import annotations

from continuum_sim.traces.generate.bfcl import (
    BFCL_PROGRAMS,
    BFCL_SEED,
    bundled_bfcl,
    generate_bfcl,
)
from continuum_sim.traces.generate.longer import longer

__all__ = ["BFCL_PROGRAMS", "BFCL_SEED", "bundled_bfcl", "generate_bfcl", "longer"]
