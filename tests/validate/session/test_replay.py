"""Replays on an engine that is the simulator itself must leave the records of a simulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.steptime import Calibrated
from continuum_sim.traces import find_trace, read_programs
from continuum_sim.traces.arrivals import Closed, Poisson
from continuum_sim.traces.scale import Scale
from continuum_sim.traces.schema import Program
from continuum_sim.validate.calibration.delays import ClientDelays
from continuum_sim.validate.engines.interface import EngineError
from continuum_sim.validate.judge.observed import KeptRecords
from continuum_sim.validate.judge.predict import forecast
from continuum_sim.validate.session.replay import Replay, replay
from continuum_sim.validate.session.workload import Workload, make_workload
from support.fake_engine import FakeEngines, facts
from support.programs import program, turn
from support.virtual_time import run_virtually

STEP_TIME = Calibrated(0.003, 8e-5, 1e-3, 5e-7, 2.6e-8, 6e-5, 3.5e-7, 0)
SCARCE = facts(num_gpu_blocks=81, max_model_len=1024)


def scaled(limit: int, max_turns: int) -> list[Program]:
    return list(Scale(16, 8).apply(read_programs(find_trace("swebench"), limit=limit, max_turns=max_turns)))


def play(
    workload: Workload, policy: str, folder: Path, engines: FakeEngines | None = None
) -> tuple[KeptRecords, Replay]:
    kept = KeptRecords()

    async def run() -> Replay:
        engine = await (engines or FakeEngines(SCARCE, STEP_TIME))(policy, {}, folder, None)
        try:
            return await replay(engine, workload, kept, seed=0)
        finally:
            await engine.close()

    return kept, run_virtually(run())


@pytest.mark.parametrize("policy", ["lru", "program-fifo", "ttl-static:ttl=0.1", "ttl:cold_start=5"])
@pytest.mark.parametrize("arrivals", [Poisson(2.0), Closed(3)])
def test_the_records_are_those_of_a_simulation(policy: str, arrivals: Poisson | Closed, tmp_path: Path) -> None:
    workload = make_workload(scaled(6, 8), arrivals, seed=3)
    kept, ran = play(workload, policy, tmp_path)
    (simulated,) = forecast(workload, policy, SCARCE.config(), STEP_TIME, ClientDelays())
    assert len(kept.turns) == sum(len(p.turns) for p in workload.programs)
    for one, other in zip(sorted(kept.turns), sorted(simulated.turns), strict=True):
        assert (one.program, one.turn, one.cached_tokens, one.preemptions, one.tool) == (
            other.program,
            other.turn,
            other.cached_tokens,
            other.preemptions,
            other.tool,
        )
        for name in ("arrival_s", "scheduled_s", "first_token_s", "finish_s"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-6), name
    for mine, theirs in zip(sorted(kept.programs), sorted(simulated.programs), strict=True):
        assert mine.jct_s == pytest.approx(theirs.jct_s, abs=1e-6)
        assert mine.queue_s + mine.prefill_s + mine.decode_s + mine.tool_s == pytest.approx(mine.jct_s)
        assert mine.tool_s == pytest.approx(theirs.tool_s)
    assert ran.end_s == pytest.approx(max(p.finish_s for p in kept.programs))


def test_a_tool_is_waited_for_from_the_last_token_on(tmp_path: Path) -> None:
    one = program("p", turn(40, 3, gap=2.5), turn(60, 2, gap=0.25), turn(80, 1), at=1.5)
    kept, _ = play(Workload((one,)), "lru", tmp_path)
    first, second, third = kept.turns
    assert first.arrival_s == 1.5
    assert second.arrival_s == pytest.approx(first.finish_s + 2.5)
    assert third.arrival_s == pytest.approx(second.finish_s + 0.25)
    assert kept.programs[0].jct_s == pytest.approx(third.finish_s - 1.5)


def test_only_what_is_kept_is_found_in_the_cache(tmp_path: Path) -> None:
    """The fake engine compares token ids, so hits prove that prompts contain what the engine generated."""
    one = program("p", turn(64, 33), turn(128, 1), turn(100, 1, kept=70))
    kept, _ = play(Workload((one,)), "lru", tmp_path)
    # 96 of the 97 known tokens are in full blocks with KV; of the 70 kept ones 64 are.
    assert [record.cached_tokens for record in kept.turns] == [0, 96, 64]


def test_the_first_failure_ends_the_replay(tmp_path: Path) -> None:
    engines = FakeEngines(SCARCE, STEP_TIME, dies_after=lambda number: 7)
    with pytest.raises(EngineError, match="died"):
        play(make_workload(scaled(6, 8), Poisson(2.0), seed=0), "lru", tmp_path, engines)
    assert engines.open == 0


def test_delays_between_engine_and_client_count_as_waiting() -> None:
    one = program("p", turn(40, 3, gap=1.0), turn(60, 2), at=0.0)
    config = EngineConfig(num_gpu_blocks=50, max_num_batched_tokens=256, max_num_seqs=8, max_model_len=512)
    delays = ClientDelays((0.2,), (0.3,), (0.05,))
    (plain,) = forecast(Workload((one,)), "lru", config, STEP_TIME, ClientDelays())
    (delayed,) = forecast(Workload((one,)), "lru", config, STEP_TIME, delays)
    (a,), (b,) = plain.programs, delayed.programs
    assert b.jct_s - a.jct_s == pytest.approx(0.2 + 0.3 + (0.2 + 0.3 + 0.05))
    assert b.tool_s == a.tool_s == 1.0
    assert b.arrival_s == 0.0
    assert b.queue_s + b.prefill_s + b.decode_s + b.tool_s == pytest.approx(b.jct_s)


def test_draws_differ_by_the_delays_that_were_measured_and_by_nothing_else() -> None:
    workload = make_workload(scaled(4, 6), Poisson(2.0), seed=0)
    config = SCARCE.config()
    same = forecast(workload, "lru", config, STEP_TIME, ClientDelays(), draws=3)
    assert len({draw.programs for draw in same}) == 1
    delays = ClientDelays((0.001, 0.002), (0.001,), (0.0, 0.001))
    drawn = forecast(workload, "lru", config, STEP_TIME, delays, draws=3, seed=1)
    assert len({draw.programs for draw in drawn}) == 3
    assert drawn == forecast(workload, "lru", config, STEP_TIME, delays, draws=3, seed=1)
