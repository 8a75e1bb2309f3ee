"""What a service sustains: its service curve, and the loads it recovers from and holds, measured and predicted.

Begin with `run.capacity`, which puts `measure`'s measurements together; `law` and `search` make rates of them. Each
finished measurement is kept by `store`, so that a stopped search resumes. The definitions are in `docs/capacity.md`.
"""

from continuum_sim.capacities.result import CapacityResult
from continuum_sim.capacities.run import capacity
from continuum_sim.capacities.store import load_capacity

__all__ = ["CapacityResult", "capacity", "load_capacity"]
