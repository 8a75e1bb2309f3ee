"""Decision rules: pure Python that imports no simulator and no engine, and does no I/O.

A policy is a composition of planes over views of the past: begin with `planes.py`, then read one file of `rules/`.
`registry.py` knows rules by name; importing the package registers all of `rules/`. `parts/` has what several of them
are built of, and `host/` carries out what a policy answers. What this module exports is the interface for rules in
other packages: add to it, and take nothing away.
"""

from continuum_sim.names import modules_of
from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.planes import (
    Admission,
    Decision,
    Fate,
    Gate,
    Order,
    PinFor,
    Policy,
    Recall,
    Retention,
    Review,
    Router,
    Routing,
)
from continuum_sim.policies.registry import PRESETS, Preset, find_preset, register_preset

modules_of(f"{__name__}.rules")

__all__ = [
    "PRESETS",
    "Admission",
    "Decision",
    "Fate",
    "Gate",
    "Order",
    "PinFor",
    "Policy",
    "PolicyError",
    "Preset",
    "Recall",
    "Retention",
    "Review",
    "Router",
    "Routing",
    "find_preset",
    "register_preset",
]
