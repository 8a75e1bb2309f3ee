"""Many runs at once: a grid of settings becomes cells, cells become rows of a Parquet dataset.

`plan` turns a specification into cells, `run` carries them out on workers, `store` is the directory that holds them.
"""

from continuum_sim.sweeps.plan import SweepPlan, SweepSpec, plan_sweep
from continuum_sim.sweeps.result import Failure, SweepResult, load_sweep
from continuum_sim.sweeps.run import run_sweep, sweep
from continuum_sim.sweeps.tune import tune
from continuum_sim.sweeps.tuned import Tuned
from continuum_sim.sweeps.workers import Workers

__all__ = [
    "Failure",
    "SweepPlan",
    "SweepResult",
    "SweepSpec",
    "Tuned",
    "Workers",
    "load_sweep",
    "plan_sweep",
    "run_sweep",
    "sweep",
    "tune",
]
