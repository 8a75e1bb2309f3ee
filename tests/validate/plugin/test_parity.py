"""The plug-in inside vLLM's own scheduler decides like the simulator: every step, every line of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from continuum_sim.engine.rebuild import fit_rebuild_time
from continuum_sim.policies import PRESETS
from continuum_sim.policies.planes import Admission, Order
from continuum_sim.policies.rules.ttl_static import TtlStatic
from continuum_sim.policies.views import Moment, TurnView
from continuum_sim.results.decisions import DecisionRecord, decision_line
from continuum_sim.setup.notation import parse_policy
from continuum_sim.steptime.fitted import Fitted
from continuum_sim.traces.schema import Child, Program
from continuum_sim.validate.parity.random_cases import Case, random_case
from continuum_sim.world.simulation import Simulation
from support.rules import OldestYields, registered
from support.runs import Outcome

pytestmark = pytest.mark.engine

STEP_TIME = Fitted(0.01, 1e-4, 1e-7, 2e-9)
SEEDS = range(4)
MODES = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@dataclass(frozen=True)
class Ageing(Order):
    """Keys whose order changes as time passes."""

    time_varying: ClassVar[bool] = True

    def key(self, turn: TurnView, now_s: float) -> Any:
        return (turn.arrival_s - now_s) * (1 + turn.program.seq % 3)


@dataclass(frozen=True)
class FewNewcomers(Admission):
    """Admits first turns only while at most one turn runs."""

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return turn.index > 0 or moment.engine.num_running < 2


@dataclass(frozen=True)
class YieldingToGrowth(TtlStatic):
    """Breaks pins before any running turn is preempted."""

    yields_to_growth: ClassVar[bool] = True


@pytest.fixture(autouse=True)
def named() -> Iterator[None]:
    """Register the rules above under the names that policies use."""
    with registered(
        order={"oldest-yields": OldestYields, "ageing": Ageing},
        admission={"few-newcomers": FewNewcomers},
        retention={"yielding-to-growth": YieldingToGrowth},
    ):
        yield


@dataclass(frozen=True)
class Given:
    """Arrivals at given times."""

    times_s: Sequence[float]
    name: ClassVar[str] = "given"

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> Iterator[tuple[float, Program]]:
        return zip(self.times_s, programs, strict=True)


def lockstep(
    case: Case, spec: str, folder: Path, *, asynchronous: bool
) -> tuple[list[bytes], list[bytes], dict[str, Any], dict[str, Any]]:
    """Run both sides in lockstep; return both logs and both counts. A differing step raises `Mismatch`."""
    from continuum_sim.validate.parity.shadow import VllmShadow
    from continuum_sim.validate.plugin import ContinuumScheduler

    config, log = replace(case.config, async_scheduling=asynchronous), folder / "decisions.jsonl"
    log.unlink(missing_ok=True)
    rebuild = fit_rebuild_time(STEP_TIME, config.max_num_batched_tokens, config.max_model_len)
    shadow = VllmShadow(
        config,
        {p.program_id: p for top in case.programs for p in top.family()},
        scheduler_cls=ContinuumScheduler,
        additional_config={
            "continuum": {"policy": spec, "decisions": str(log), "rebuild": asdict(rebuild), "forget_after_s": None}
        },
    )
    simulated: list[bytes] = []
    simulation = Simulation(
        policy=parse_policy(spec),
        config=config,
        step_time=STEP_TIME,
        recorder=Outcome(),
        stepwise=True,
        observer=shadow,
        log=lambda *entry: simulated.append(decision_line(DecisionRecord(*entry))),
    )
    simulation.run(case.programs, Given(case.arrivals_s), np.random.default_rng(0))
    pool = shadow.vllm.kv_cache_manager.block_pool
    assert pool.get_num_free_blocks() == config.usable_blocks, "blocks leaked"
    counts = [asdict(g.counts) for g in (simulation.scheduler.governor, shadow.vllm.continuum.governor)]
    for values in counts:
        values["preemptions"] = simulation.scheduler.preemptions
    return simulated, log.read_bytes().splitlines(keepends=True), counts[0], counts[1]


MUST_HAPPEN = {
    "lru": {"preemptions"},
    "fcfs": {"evictions", "preemptions"},
    "program-fifo": {"reorders"},
    "ttl-static:ttl=2": {"pins_hit", "pins_expired", "pins_broken", "reorders"},
    "ttl-static:ttl=1,pressure=head": {"pins_hit", "pins_expired", "pins_broken"},
    "ttl-static:ttl=4,pressure=younger": {"pins_hit", "pins_broken"},
    "pin-forever": {"pins_hit", "pins_broken"},
    "pin-forever:pressure=head": {"pins_hit", "pins_broken"},
    "ttl": {"pins_hit", "pins_expired", "pins_broken"},
    "ttl:cold_start=3": {"pins_hit", "pins_expired", "pins_broken"},
    "ttl:cold_start=3,pressure=head": {"pins_hit", "pins_expired", "pins_broken"},
    "ttl:cold_start=3,pressure=younger": {"pins_hit", "pins_expired", "pins_broken"},
    "order=oldest-yields,retention=ttl-static:ttl=2": {"preemptions", "pins_hit"},
    "order=ageing": {"reorders"},
    "order=program-fifo,admission=few-newcomers": {"holds", "reorders"},
    "admission=few-newcomers": {"holds", "reorders"},
    "order=pinned-first,retention=yielding-to-growth:ttl=4": {"pins_hit", "pins_broken"},
}
"""What each policy must have done over all seeds; otherwise agreement would prove nothing."""


def case_of(seed: int) -> Case:
    """Return a random case; every other one without shared prefixes."""
    case = random_case(np.random.default_rng([7, seed]))
    if seed % 2:
        return case
    return replace(case, programs=[replace(program, shared_prefix=None) for program in case.programs])


@MODES
@pytest.mark.parametrize("spec", MUST_HAPPEN)
def test_the_log_agrees_line_by_line(spec: str, asynchronous: bool, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    total: Counter[str] = Counter()
    for seed in SEEDS:
        simulated, real, simulated_counts, real_counts = lockstep(
            case_of(seed), spec, tmp_path, asynchronous=asynchronous
        )
        assert real == simulated
        if seed % 2:
            # The simulator excludes a shared prefix when it shrinks a pin; the plug-in counts what it holds.
            del simulated_counts["pinned_block_seconds"], real_counts["pinned_block_seconds"]
        assert real_counts == simulated_counts
        total.update(real_counts)
    assert {name for name in MUST_HAPPEN[spec] if not total[name]} == set()


RUNNABLE = [name for name in PRESETS if not (parse_policy(name).oracle or parse_policy(name).retention.needs_tier)]


@MODES
@pytest.mark.parametrize("preset", sorted(RUNNABLE))
def test_every_preset_agrees_as_it_is(preset: str, asynchronous: bool, tmp_path: Path) -> None:
    """Without shared prefixes, which the simulator excludes from the pinned blocks that some policies look at."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    for seed in (8, 10):
        simulated, real, _, _ = lockstep(case_of(seed), preset, tmp_path, asynchronous=asynchronous)
        assert real == simulated


@MODES
@pytest.mark.parametrize("policy", ["session-gate:limit=1", "concur:window=1,period=2", "thunderagent:period=2"])
def test_a_gate_lets_sub_agents_in_on_both_sides(policy: str, asynchronous: bool, tmp_path: Path) -> None:
    """Clients name the parent; otherwise the plug-in would keep out the sub-agent that the parent waits for."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    case = case_of(8)
    tops, others = case.programs[::2], case.programs[1::2]
    families = [
        replace(top, children=(Child(replace(other, arrival_s=None), 0),))
        for top, other in zip(tops, others, strict=False)
    ]
    case = replace(case, programs=families, arrivals_s=case.arrivals_s[: len(families)])
    simulated, live, counts, live_counts = lockstep(case, policy, tmp_path, asynchronous=asynchronous)
    assert live == simulated
    assert live_counts == counts
