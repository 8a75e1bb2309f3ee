"""What a service sustains: its service curve, and the loads it recovers from and holds, measured and predicted."""

from continuum_sim.capacities.result import CapacityResult
from continuum_sim.capacities.run import capacity
from continuum_sim.capacities.store import load_capacity

__all__ = ["CapacityResult", "capacity", "load_capacity"]
