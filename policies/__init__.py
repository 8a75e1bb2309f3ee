"""Decision rules: pure Python, no simulator, no engine, no I/O.

A policy is a composition of planes (`planes.py`) over views of the past (`views.py`, `history.py`). Importing the
package registers the rule of every file in `rules/` (`registry.py`); `parts/` has what several of them are built of,
and `host/` carries out what a policy answers.
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
