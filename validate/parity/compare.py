"""Drive both schedulers over one trace and report whether they ever disagree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.rebuild import fit_rebuild_time
from continuum_sim.policies import Policy
from continuum_sim.policies.planes import keeps_contexts, leaves_order
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.arrivals import Closed, OpenArrivals
from continuum_sim.traces.schema import Program
from continuum_sim.validate.parity.random_cases import random_case
from continuum_sim.validate.parity.shadow import Difference, Mismatch, VllmShadow
from continuum_sim.world.clients import PATIENT, ClientConfig, ClientDraws
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord
from continuum_sim.world.simulation import Simulation


@dataclass(frozen=True)
class ParityReport:
    """Outcome of one or many comparisons."""

    steps: int
    turns: int
    preemptions: int
    runs: int
    simulator_s: float
    """Wall-clock seconds of the simulator's side (stepwise)."""
    vllm_s: float
    """Wall-clock seconds inside vLLM's scheduler."""
    aborts: int = 0
    """Requests whose clients left."""
    refused: int = 0
    """Requests refused with 503."""
    retries: int = 0
    wasted_tokens: int = 0
    """Tokens computed for turns that had ended (asynchronous scheduling)."""
    difference: Difference | None = None

    def __add__(self, other: ParityReport) -> ParityReport:
        return ParityReport(
            self.steps + other.steps,
            self.turns + other.turns,
            self.preemptions + other.preemptions,
            self.runs + other.runs,
            self.simulator_s + other.simulator_s,
            self.vllm_s + other.vllm_s,
            self.aborts + other.aborts,
            self.refused + other.refused,
            self.retries + other.retries,
            self.wasted_tokens + other.wasted_tokens,
            self.difference or other.difference,
        )


class _TurnCount:
    """A recorder that only counts."""

    turns = 0

    def turn(self, record: TurnRecord) -> None:
        self.turns += 1

    def program(self, record: ProgramRecord) -> None:
        """Ignore programs."""

    def timeline(self, record: TimelineRecord) -> None:
        """Ignore the timeline."""


@dataclass(frozen=True)
class _Given:
    """Arrivals at given times."""

    name: ClassVar[str] = "given"
    times_s: Sequence[float]

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> Iterator[tuple[float, Program]]:
        """Pair programs with their times."""
        return zip(self.times_s, programs, strict=True)


def compare_on_trace(
    programs: Sequence[Program],
    arrivals: OpenArrivals | Closed,
    config: EngineConfig,
    policy: Policy,
    step_time: StepTime,
    seed: int = 0,
    scheduler_cls: type | None = None,
    clients: ClientConfig = PATIENT,
) -> ParityReport:
    """Compare every step of one run; stops at the first difference.

    Parameters
    ----------
    policy
        Policy that the simulator runs. Against vLLM's own scheduler it must be `lru`; any other policy needs
        the plug-in as `scheduler_cls`.
    """
    settings = None
    if scheduler_cls is not None:
        rebuild = fit_rebuild_time(step_time, config.max_num_batched_tokens, config.max_model_len)
        settings = {"continuum": {"policy": policy.name, "rebuild": asdict(rebuild)}}
    by_name = {program.program_id: program for root in programs for program in root.family()}
    shadow = VllmShadow(config, by_name, scheduler_cls=scheduler_cls, additional_config=settings)
    count = _TurnCount()
    simulation = Simulation(
        policy=policy,
        config=config,
        step_time=step_time,
        recorder=count,
        stepwise=True,
        observer=shadow,
        clients=ClientDraws(clients, seed),
    )
    difference = None
    start_s = time.perf_counter()
    try:
        simulation.run(programs, arrivals, np.random.default_rng(seed))
    except Mismatch as mismatch:
        difference = mismatch.difference
    wall_s = time.perf_counter() - start_s
    preemptions = simulation.scheduler.preemptions
    return ParityReport(
        steps=shadow.steps,
        turns=count.turns,
        preemptions=preemptions,
        runs=1,
        simulator_s=wall_s - shadow.vllm_s,
        vllm_s=shadow.vllm_s,
        aborts=shadow.aborts,
        refused=0 if simulation.clients is None else simulation.clients.totals.refused,
        retries=0 if simulation.clients is None else simulation.clients.totals.retries,
        wasted_tokens=shadow.wasted_tokens,
        difference=difference,
    )


def compare_on_random_cases(
    runs: int,
    policy: Policy,
    step_time: StepTime,
    seed: int = 0,
    scheduler_cls: type | None = None,
    on_run: Callable[[ParityReport], None] | None = None,
    async_scheduling: bool = False,
    controls: bool = False,
) -> ParityReport:
    """Compare many random cases (see `random_case`); stops at the first difference.

    Parameters
    ----------
    controls
        Whether every other case also draws vLLM's controls of prefills, seats, order and queues, and clients that
        leave.
    """
    total = ParityReport(0, 0, 0, 0, 0.0, 0.0)
    for number in range(runs):
        case = random_case(np.random.default_rng([seed, number]), controls=controls and number % 2 == 1)
        config = replace(_fitting(case.config, policy), async_scheduling=async_scheduling)
        arrivals = _Given(case.arrivals_s)
        total += compare_on_trace(case.programs, arrivals, config, policy, step_time, seed, scheduler_cls, case.clients)
        if on_run is not None:
            on_run(total)
        if total.difference is not None:
            break
    return total


def _fitting(config: EngineConfig, policy: Policy) -> EngineConfig:
    """Return the settings without those that leave this policy no room."""
    if keeps_contexts(policy.retention):
        config = replace(config, enable_prefix_caching=True)
    return config if leaves_order(policy) else replace(config, scheduling_policy="fcfs")
