"""Drive both schedulers over one trace and report whether they ever disagree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar, TypeVar

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.pipeline.stages import StageTimes
from continuum_sim.engine.rebuild import fit_rebuild_time
from continuum_sim.policies import Policy
from continuum_sim.policies.planes import keeps_contexts, leaves_order
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.scaled import Scaled
from continuum_sim.traces.arrivals import Closed, OpenArrivals
from continuum_sim.traces.schema import Program
from continuum_sim.validate.parity.pairs import Pair, acting, steps_together
from continuum_sim.validate.parity.random_cases import random_case
from continuum_sim.validate.parity.shadow import Difference, Mismatch, VllmShadow
from continuum_sim.vllm_defaults import MIRRORED_VLLM
from continuum_sim.world.clients import PATIENT, ClientConfig, ClientDraws, ClientTotals
from continuum_sim.world.drafts import DraftDraws
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord
from continuum_sim.world.simulation import Simulation

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class ParityReport:
    """Outcome of one or many comparisons."""

    steps: int = 0
    turns: int = 0
    runs: int = 0
    simulator_s: float = 0.0
    """Wall-clock seconds of the simulator's side (stepwise)."""
    vllm_s: float = 0.0
    """Wall-clock seconds inside vLLM's scheduler."""
    events: Mapping[str, int] = field(default_factory=dict)
    """How often happened what the steps were compared over, by kind (see `events.py`)."""
    difference: Difference | None = None
    together: Mapping[Pair, int] = field(default_factory=dict)
    """In how many steps any two settings acted together."""

    def __add__(self, other: ParityReport) -> ParityReport:
        return ParityReport(
            self.steps + other.steps,
            self.turns + other.turns,
            self.runs + other.runs,
            self.simulator_s + other.simulator_s,
            self.vllm_s + other.vllm_s,
            _added(self.events, other.events),
            self.difference or other.difference,
            _added(self.together, other.together),
        )


def _added(some: Mapping[_Key, int], more: Mapping[_Key, int]) -> dict[_Key, int]:
    return {key: some.get(key, 0) + more.get(key, 0) for key in {**some, **more}}


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
        drafts=DraftDraws(seed),
    )
    difference = None
    start_s = time.perf_counter()
    try:
        simulation.run(programs, arrivals, np.random.default_rng(seed))
    except Mismatch as mismatch:
        difference = mismatch.difference
    wall_s = time.perf_counter() - start_s
    sent = ClientTotals() if simulation.clients is None else simulation.clients.totals
    return ParityReport(
        steps=shadow.steps,
        turns=count.turns,
        runs=1,
        simulator_s=wall_s - shadow.vllm_s,
        vllm_s=shadow.vllm_s,
        events={**shadow.events, "refusals": sent.refused, "retries": sent.retries},
        together=steps_together(acting(config, clients), shadow.steps),
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
    pipelines: bool = True,
    vllm_version: str = MIRRORED_VLLM,
) -> ParityReport:
    """Compare many random cases (see `random_case`); stops at the first difference.

    Parameters
    ----------
    controls
        Whether every other case also draws vLLM's controls of prefills, seats, order and queues, and clients that
        leave, three of four are crowded, half have several KV cache groups, and five in twelve each drafts and native
        offload, or two of these.
    pipelines
        Whether with controls a quarter runs in pipeline stages, without drafts and offload.
    vllm_version
        The mirrored version that the installed vLLM is.
    """
    total = ParityReport()
    for number in range(runs):
        rng = np.random.default_rng([seed, number])
        staged = controls and pipelines and number % 12 in (1, 2, 5)
        case = random_case(
            rng,
            controls=controls and number % 2 == 1,
            crowded=controls and number % 8 > 1,
            groups=controls and (number % 3 == 2 or number % 6 == 4),
            drafts=controls and not staged and (number % 3 == 1 or number % 6 == 3),
            offloads=controls and not staged and (number % 3 == 0 or number % 6 == 5),
            staged=staged,
            vllm_version=vllm_version,
        )
        config = _fitting(case.config, policy)
        if async_scheduling and config.speculation is not None and not config.speculation.plans_ahead(vllm_version):
            config = replace(config, speculation=replace(config.speculation, method="ngram_gpu"))
        config = replace(config, async_scheduling=async_scheduling, vllm_version=vllm_version)
        if config.kv_cache_groups or config.speculation is not None:  # these need more where steps are planned ahead
            least = config.blocks_of(config.max_model_len) + 1
            config = replace(config, num_gpu_blocks=max(config.num_gpu_blocks, least))
        arrivals = _Given(case.arrivals_s)
        times = step_time
        if case.stages:
            times = StageTimes([Scaled(step_time, share) for share in case.stages])
        total += compare_on_trace(case.programs, arrivals, config, policy, times, seed, scheduler_cls, case.clients)
        if on_run is not None:
            on_run(total)
        if total.difference is not None:
            break
    return total


def _fitting(config: EngineConfig, policy: Policy) -> EngineConfig:
    """Return the settings without those that leave this policy no room."""
    if keeps_contexts(policy.retention):
        groups = tuple(
            replace(group, block_size=config.block_size) if group.kind == "recurrent" else group
            for group in config.kv_cache_groups
        )
        config = replace(config, enable_prefix_caching=True, kv_cache_groups=groups)
    return config if leaves_order(policy) else replace(config, scheduling_policy="fcfs")
