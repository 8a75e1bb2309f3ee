"""Decision rules: pure Python, no simulator, no engine, no I/O.

A policy is a composition of planes (`planes.py`) over views of the past (`views.py`, `history.py`). Every
other file in this folder is one rule; importing the package registers them all.
"""

from importlib import import_module
from pkgutil import iter_modules

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

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

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
