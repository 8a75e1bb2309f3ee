"""Trace generators: from a fit (`from_fit`), or from published figures, one file per workload."""

from __future__ import annotations

from continuum_sim.traces.generate.bfcl import (
    BFCL_PROGRAMS,
    BFCL_SEED,
    bundled_bfcl,
    generate_bfcl,
)
from continuum_sim.traces.generate.from_fit import generate_programs
from continuum_sim.traces.generate.longer import longer
from continuum_sim.traces.generate.profiles import Recipe, find_fit, find_profile, profiles, recipes
from continuum_sim.traces.generate.swe import generate_swe
from continuum_sim.traces.generate.write import generate_trace

__all__ = [
    "BFCL_PROGRAMS",
    "BFCL_SEED",
    "Recipe",
    "bundled_bfcl",
    "find_fit",
    "find_profile",
    "generate_bfcl",
    "generate_programs",
    "generate_swe",
    "generate_trace",
    "longer",
    "profiles",
    "recipes",
]
