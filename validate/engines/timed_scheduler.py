"""Runs inside the engine: times the scheduler's two calls and logs every step.

vLLM calls whatever `scheduler_cls` names with a scheduler's arguments and uses the result, so a function
works as well as a class. This one builds the scheduler that would be used anyway (vLLM's own, or the plug-in) and
wraps two methods of that one object.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

from continuum_sim.processes import end_with_parent
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.traces.files import write_text
from continuum_sim.validate.engines.vllm_groups import groups_of
from continuum_sim.validate.session.pace import Pace, Pacer
from continuum_sim.validate.steplog import (
    ENVIRONMENT,
    LoggedStep,
    computes,
    decoding_requests,
    entering,
    scheduled_batch,
    step_line,
)


def make_timed_scheduler(vllm_config: Any, *args: Any, **kwargs: Any) -> Any:
    """Build the scheduler that the environment asks for and log its steps.

    `CONTINUUM_SIM_STEP_LOG` holds `path`, the file to write; `policy`, true to build the plug-in instead of vLLM's
    own scheduler; `pace`, the fields of a `Pace` to hold the steps to, or None; `async_scheduling`, true to
    schedule asynchronously even on a CPU; and `scheduling`, the file that receives how it is done, and in which KV
    cache groups.
    """
    end_with_parent()
    settings = json.loads(os.environ[ENVIRONMENT])
    forced = settings["async_scheduling"] and force_async_scheduling(vllm_config)
    scheduler = _scheduler_class(vllm_config, settings["policy"])(vllm_config, *args, **kwargs)
    how = {"async_scheduling": bool(vllm_config.scheduler_config.async_scheduling), "forced": forced}
    write_text(settings["scheduling"], json.dumps({**how, **groups_of(scheduler.kv_cache_config)}))
    pace = settings.get("pace")
    drafts = vllm_config.speculative_config is not None
    StepClock(scheduler, Path(settings["path"]), None if pace is None else Pacer(Pace(**pace).times()), drafts=drafts)
    return scheduler


def force_async_scheduling(vllm_config: Any) -> bool:
    """Turn asynchronous scheduling on again where vLLM turned it off because the platform is a CPU; True if so.

    vLLM's `EngineCore` asks for the number of steps in flight only once it has its scheduler. The worker was started
    before, as for synchronous steps; it is a process of its own and carries out one step after the other, keeping the
    sampled tokens, so steps overlap with their planning as on a GPU. A worker in the engine's own process (`uni`) would
    run the next step before the engine sees the output of the last: there nothing is forced. Nor is it with drafts,
    which the CPU's model runner proposes only once it has sampled.
    """
    from vllm.platforms import current_platform

    config = vllm_config.scheduler_config
    in_process = vllm_config.parallel_config.distributed_executor_backend == "uni"
    drafts = vllm_config.speculative_config is not None
    if config.async_scheduling or in_process or drafts or not current_platform.is_cpu():
        return False
    config.async_scheduling = True
    return True


def _scheduler_class(vllm_config: Any, policy: bool) -> Any:
    if policy:
        from continuum_sim.validate.plugin.scheduler import ContinuumScheduler

        return ContinuumScheduler
    if vllm_config.scheduler_config.async_scheduling:
        from vllm.v1.core.sched.async_scheduler import AsyncScheduler

        return AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler

    return Scheduler


class StepClock:
    """Times the steps of one scheduler, and holds them to a pace if there is one; counts `drafts`, if it has any."""

    def __init__(self, scheduler: Any, path: Path, pacer: Pacer | None = None, *, drafts: bool = False) -> None:
        self._scheduler = scheduler
        self._pacer = pacer
        self._file = path.open("wb")
        self._schedule = scheduler.schedule
        self._update = scheduler.update_from_output
        self._shutdown = scheduler.shutdown
        self._under_way: deque[tuple[float, float, StepBatch, list[str]]] = deque()
        """Steps scheduled but not finished, with decoding requests: one, or two under asynchronous scheduling."""
        self._drafts = drafts
        self._verified: dict[str, tuple[int, int]] = {}
        """What vLLM has counted of the step whose output it processes."""
        if drafts:
            self._count = scheduler.make_spec_decoding_stats
            scheduler.make_spec_decoding_stats = self.count_drafts
        self._computed_s = 0.0
        """When the last step that computed something ended."""
        scheduler.schedule = self.schedule
        scheduler.update_from_output = self.update_from_output
        scheduler.shutdown = self.shutdown

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """Schedule a step, and record when it was scheduled and what it computes."""
        start_s = time.monotonic()
        output = self._schedule(*args, **kwargs)
        scheduled_s = time.monotonic()
        step = (
            self._scheduler.requests,
            output.num_scheduled_tokens,
            entering(output),
            output.scheduled_spec_decode_tokens,
        )
        decoding = decoding_requests(*step) if self._drafts else []
        self._under_way.append((start_s, scheduled_s, scheduled_batch(*step), decoding))
        return output

    def count_drafts(self, *args: Any, **kwargs: Any) -> Any:
        """Let vLLM count the drafts of a request in a step, and keep what it counts."""
        self._verified[kwargs["request_id"]] = kwargs["num_draft_tokens"], kwargs["num_accepted_tokens"]
        return self._count(*args, **kwargs)

    def update_from_output(self, *args: Any, **kwargs: Any) -> Any:
        """Process a step's results and log the step."""
        ran_s = time.monotonic()
        start_s, scheduled_s, batch, decoding = self._under_way.popleft()
        self._verified.clear()
        left = self._scheduler.requests  # without those for which the step was planned in vain
        decoding = [name for name in decoding if name in left]
        if self._pacer is not None and computes(batch):
            self._pacer.hold(start_s, batch)
        outputs = self._update(*args, **kwargs)
        unfinished = self._scheduler.get_num_unfinished_requests()
        end_s = time.monotonic()
        verified = {name: self._verified.get(name, (0, 0)) for name in decoding}
        self._file.write(step_line(LoggedStep(start_s, scheduled_s, ran_s, end_s, batch, unfinished, verified)))
        if not unfinished:
            self._file.flush()
        if computes(batch):
            self._computed_s = end_s
            followed = unfinished > 0
        else:  # one planned while another ran holds up nothing
            followed = start_s < self._computed_s
        if self._pacer is not None and not followed:
            self._pacer.rest()
        return outputs

    def shutdown(self, *args: Any, **kwargs: Any) -> Any:
        """Close the log with the scheduler."""
        self._file.close()
        return self._shutdown(*args, **kwargs)
