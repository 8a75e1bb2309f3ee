"""Decision rules: pure Python with no simulator, no engine and no I/O.

A policy is a composition of planes (`planes.py`) over views of the past (`views.py`, `history.py`). This package is the
only import an author needs: it holds the contract, the views, registration, and the parts that several rules share
(`parts/`). Importing it registers every rule in `rules/`. `host/` carries out a policy's answers, in the simulator and
in the plug-in.
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
