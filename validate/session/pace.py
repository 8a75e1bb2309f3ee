"""Another machine's pace: every step of a real engine takes as long as a step-time model says a GPU would.

vLLM runs unchanged, with its scheduler, KV cache, engine loop and clients, on a model that computes almost nothing;
each step then waits until the GPU's time for it is over. So a machine without the GPU, or one whose speed varies with
its other load, shows how far the decisions of simulator and real engine agree at the GPU's speed.
It says nothing about how well the step times match the GPU: they are given.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import make_step_time
from continuum_sim.validate.steplog import TimedStep

_CATCH_UP_S: Final = 0.05
"""How far behind its times an engine may fall and still catch up. A step held up by other load is one that
the GPU would have finished in time; an engine that is always too slow must not sprint once it can."""
_LATE: Final = 0.05
"""Share of its time by which a step may exceed it and still count as kept, because timers wake up a little late."""


@dataclass(frozen=True)
class Pace:
    """The machine whose pace is kept."""

    step_time: str
    """A step-time model, as for `run --step-time`."""
    model: str
    gpu: str
    tensor_parallel_size: int = 1

    def __str__(self) -> str:
        gpus = f"{self.tensor_parallel_size} x {self.gpu}" if self.tensor_parallel_size > 1 else self.gpu
        return f"{self.model} on {gpus} ({self.step_time})"

    def times(self) -> StepTime:
        """Make the step-time model.

        Raises
        ------
        ConfigError
            For unknown names, or a model that does not know the pair.
        """
        return make_step_time(
            self.step_time,
            model=find_model(self.model),
            gpu=find_gpu(self.gpu),
            parallel=Parallel(self.tensor_parallel_size),
        )


def parse_pace(text: str, step_time: str = "roofline") -> Pace:
    """Parse `MODEL@GPU`, or `MODEL@4xGPU` for a model split over four GPUs.

    Raises
    ------
    ConfigError
        For another form, or unknown names.
    """
    model, sign, machine = text.strip().rpartition("@")
    if not sign or not model or not machine:
        raise ConfigError(f"--pace {text!r} is not of the form MODEL@GPU, as in llama-3.1-8b@rtx-4090 or @4xh100")
    several = re.fullmatch(r"(\d+)x(.+)", machine)
    size, gpu = (int(several[1]), several[2]) if several else (1, machine)
    pace = Pace(step_time, find_model(model).name, find_gpu(gpu).name, size)
    pace.times()
    return pace


class Pacer:
    """Holds one engine's steps to their times, in seconds on the given clock."""

    def __init__(
        self,
        step_time: StepTime,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._step_time = step_time
        self._clock = clock
        self._sleep = sleep
        self._due_s = -math.inf
        """When the last step was due."""
        self._rests = True
        """Whether the next step begins when it is planned; if not, late steps are caught up."""

    def hold(self, planned_s: float, batch: StepBatch) -> None:
        """Return when a step ends that was planned at `planned_s`.

        It begins when the step before it was due if it follows at once, or was planned while that one ran.
        """
        begin_s = max(planned_s, self._due_s) if self._rests else self._due_s
        due_s = begin_s + self._step_time.step_s(batch)
        now_s = self._clock()
        if due_s > now_s:
            self._sleep(due_s - now_s)
        self._due_s = max(due_s, now_s - _CATCH_UP_S)
        self._rests = False

    def rest(self) -> None:
        """Record that no step follows immediately, unless it is planned already."""
        self._rests = True


def how_kept(pace: Pace, step_time: StepTime, steps: Sequence[TimedStep]) -> str:
    """Say how well an engine kept to the pace, for the notes of a report."""
    spans = [(step.seconds, step_time.step_s(step.batch)) for step in steps]
    late = sum(seconds > (1 + _LATE) * due_s for seconds, due_s in spans)
    over = sum(seconds for seconds, _ in spans) / sum(due_s for _, due_s in spans) - 1.0
    return (
        f"the engine was held to the pace of {pace}: {late / len(spans):.1%} of {len(spans):,} steps ended more than "
        f"{_LATE:.0%} late, all together took {over:+.2%}"
    )
