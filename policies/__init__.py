"""Decision rules: pure Python that imports no simulator and no engine, and does no I/O.

A policy is a composition of planes over views of the past: begin with `planes.py`, then read one file of `rules/`.
This one import is all an author needs: contract, views, registration, and the parts that several rules are built of
(`parts/`); it registers all of `rules/`. `host/` carries out what a policy answers, in simulator and plug-in. What this
module exports is the interface for rules in other packages: add to it, and take nothing away.
"""

from typing import TYPE_CHECKING

from continuum_sim.names import modules_of
from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.history import Durations, History
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.policies.moved import missing, point_to_new_places
from continuum_sim.policies.parts.capacity import CapacityGate
from continuum_sim.policies.parts.pinned_first import PinnedFirst
from continuum_sim.policies.parts.pressure import YieldingPins
from continuum_sim.policies.parts.soft_pins import SoftPins
from continuum_sim.policies.parts.window import Window
from continuum_sim.policies.planes import (
    Admission,
    Decision,
    Fate,
    Gate,
    Order,
    PinFor,
    Policy,
    Retention,
    Review,
    Router,
    Routing,
)
from continuum_sim.policies.registry import (
    PRESETS,
    Preset,
    find_preset,
    register_admission,
    register_order,
    register_preset,
    register_retention,
    register_routing,
)
from continuum_sim.policies.views import (
    EngineCounts,
    EngineView,
    Foresight,
    Moment,
    ProgramView,
    ReplicaView,
    RoutedTurn,
    TierView,
    TurnView,
    instant,
    used_share,
)

point_to_new_places(__name__)
modules_of(f"{__name__}.rules")

__all__ = [
    "PRESETS",
    "SAME_INSTANT_S",
    "Admission",
    "CapacityGate",
    "Decision",
    "Durations",
    "EngineCounts",
    "EngineView",
    "Fate",
    "Foresight",
    "Gate",
    "History",
    "Moment",
    "Order",
    "PinFor",
    "PinnedFirst",
    "Policy",
    "PolicyError",
    "Preset",
    "ProgramView",
    "ReplicaView",
    "Retention",
    "Review",
    "RoutedTurn",
    "Router",
    "Routing",
    "SoftPins",
    "TierView",
    "TurnView",
    "Window",
    "YieldingPins",
    "find_preset",
    "instant",
    "register_admission",
    "register_order",
    "register_preset",
    "register_retention",
    "register_routing",
    "used_share",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        raise missing(__name__, name)
