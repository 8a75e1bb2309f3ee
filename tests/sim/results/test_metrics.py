"""Latency, slowdown, fairness and objectives of a run, against schedules worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import continuum_sim as cs
from continuum_sim.results.summary import Fairness, Interactivity, KeptSlo, Quantiles, Summary
from continuum_sim.traces.schema import Program
from support.cli import printed, refused
from support.programs import program, turn
from support.steptimes import constant

HAND: dict[str, Any] = {
    "policy": "lru",
    "arrivals": "burst",
    "step_time": constant(),
    "block_size": 4,
    "kv_blocks": 6,
    "max_num_batched_tokens": 64,
    "max_num_seqs": 8,
    "async_scheduling": False,
}
"""Schedules worked out by hand, one step after the other."""
SHORT = ("--limit", "6", "--max-turns", "5", "--rate", "2", "--kv-blocks", "1500")


def two() -> list[Program]:
    """Steps of 1 s. a gives its tokens at 1, 2, 3, 4, 5 and 6 s. b gives one at 1 s, is preempted then, and gives the
    others at 7 and 8 s (`engine/test_schedule_preemption.py` has the steps)."""
    return [program("a", turn(8, 6), at=None), program("b", turn(8, 3), at=None)]


@pytest.fixture(scope="module")
def summary() -> Summary:
    return cs.run(two(), slo="jct=7,p50_slowdown=2,tpot=2,e2el=7,mean_ttft=1", **HAND).summary


def test_latency_by_token_and_turn(summary: Summary) -> None:
    # a: five gaps of 1 s. b: 6 s and 1 s, so 3.5 s a token.
    assert summary.tpot_s == Quantiles.of(np.array([1.0, 3.5]))
    assert summary.e2el_s == Quantiles.of(np.array([6.0, 8.0]))
    assert summary.itl_s == Quantiles.of(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 6.0, 1.0]))
    # The median of TPOT is 2.25 s, its 90th percentile 1 + 0.9 × 2.5 s.
    assert summary.interactivity_tokens_per_s == Interactivity(1 / 2.25, 1 / 3.25)


def test_what_a_preemption_cost_is_a_part_of_its_own(summary: Summary) -> None:
    assert summary.preemptions == 1
    parts = summary.time_s
    assert (parts.queue, parts.prefill, parts.decode, parts.preempted) == (0.0, 1.0, (5 + 1) / 2, 6 / 2)
    assert summary.time_share.preempted == 3 / 7


def test_slowdown_and_fairness(summary: Summary) -> None:
    # Alone, a takes 1 + 5 s and b 1 + 2 s.
    assert summary.slowdown == Quantiles.of(np.array([6 / 6, 8 / 3]))
    assert isinstance(summary.fairness, Fairness)
    assert summary.fairness.jain == pytest.approx((1 + 8 / 3) ** 2 / (2 * (1 + (8 / 3) ** 2)))
    assert [msgspec.structs.astuple(group) for group in summary.fairness.by_length] == [
        (3.0, 1, 8.0, 8 / 3),
        (6.0, 1, 6.0, 1.0),
    ]


def test_objectives(summary: Summary) -> None:
    assert isinstance(summary.slo, KeptSlo)
    found = [(one.objective, one.most, one.value, one.kept, one.share) for one in summary.slo.objectives]
    assert found == [
        ("jct", 7.0, 8.0, False, 0.5),
        ("p50_slowdown", 2.0, (1 + 8 / 3) / 2, True, 0.5),
        ("tpot", 2.0, 3.5, False, 0.5),
        ("e2el", 7.0, 8.0, False, 0.5),
        ("mean_ttft", 1.0, 1.0, True, 1.0),
    ]
    slo = summary.slo
    assert not slo.kept
    # a alone is within all bounds, one program and one turn of the run's 8 s.
    assert (slo.program_share, slo.good_programs_per_s) == (0.5, 1 / 8)
    assert (slo.turn_share, slo.good_turns_per_s) == (0.5, 1 / 8)


def test_tokens_per_gpu_second_count_all_gpus() -> None:
    agents = [program(name, turn(40, 9), at=None) for name in "ab"]
    made = cs.run(agents, **{**HAND, "kv_blocks": 100}, tensor_parallel_size=2, replicas=2, router="round-robin")
    assert made.summary.sim_s == 9.0
    assert made.summary.throughput.output_tokens_per_gpu_s == 18 / 9 / 4


def test_turns_of_one_token_have_no_time_per_token() -> None:
    made = cs.run([program("a", turn(8, 1), at=None)], slo="tpot=1,mean_tpot=1", **HAND).summary
    assert (made.tpot_s, made.itl_s, made.interactivity_tokens_per_s) == (msgspec.UNSET,) * 3
    # vLLM takes it as 0 for goodput.
    assert isinstance(made.slo, KeptSlo)
    assert (made.slo.kept, made.slo.turn_share) == (True, 1.0)
    assert "value" not in json.loads(made.to_json())["slo"]["objectives"][0]


def test_those_that_do_not_count_are_in_none_of_it() -> None:
    # At either end, two programs arrive together and the second is preempted; three arrive alone in between.
    first, last = ([program(f"a{at}", turn(8, 9), at=at), program(f"b{at}", turn(8, 3), at=at)] for at in (0.0, 400.0))
    alone = [program(f"c{at}", turn(8, 3), at=at) for at in (100.0, 200.0, 300.0)]
    settings = {**HAND, "arrivals": "trace"}
    made = cs.run([*first, *alone, *last], slo="slowdown=1.5,e2el=3", warmup=2, cooldown=2, **settings).summary
    assert made.preemptions == 2
    assert made.e2el_s == Quantiles.of(np.array([3.0, 3.0, 3.0]))
    assert made.tpot_s == made.itl_s == Quantiles.of(np.ones(3))
    assert made.slowdown == Quantiles.of(np.ones(3))
    assert isinstance(made.fairness, Fairness)
    assert made.fairness.jain == 1.0
    assert isinstance(made.slo, KeptSlo)
    assert made.slo.kept
    # Three arrive from 100 to 300 s, and all of them are within.
    assert (made.slo.turn_share, made.slo.good_turns_per_s) == (1.0, 3 / 200)
    assert made.time_s.preempted == 0.0


@given(
    values=st.lists(st.floats(0, 1e6), min_size=1, max_size=9),
    numbers=st.lists(st.integers(1, 40), min_size=9, max_size=9),
)
def test_quantiles_of_counted_values_are_those_of_all_of_them(values: list[float], numbers: list[int]) -> None:
    numbers = numbers[: len(values)]
    told = Quantiles.of_counted(np.array(values), np.array(numbers))
    whole = Quantiles.of(np.repeat(values, numbers))
    assert msgspec.structs.astuple(told) == pytest.approx(msgspec.structs.astuple(whole), rel=1e-9)


def test_the_terminal_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "run", *SHORT, "--slo", "p95_jct=1e-3,ttft=1e6,slowdown=1e6")
    for row in ("TPOT (a turn)", "ITL (a token)", "slowdown (a program)", "interactivity", "fairness", "Goodput: "):
        assert row in said
    assert [line.split()[-1] for line in said.splitlines() if line.startswith(("p95_jct", "ttft"))] == [
        "missed",
        "kept",
    ]
    compared = printed(capsys, "compare", *SHORT, "--policies", "lru,ttl", "--seeds", "0-1", "--slo", "ttft=1e6")
    assert "Latency, fairness, cost" in compared
    assert "turns in SLO" in compared
    assert "programs in SLO" not in compared


@pytest.mark.parametrize(
    ("slo", "complaint"),
    [
        ("p95_jtc=3", "unknown objective 'p95_jtc' of slo, did you mean 'p95_jct'? known: jct, slowdown, ttft"),
        ("tpot", "slo: tpot is '', expected a number of seconds above 0"),
        ("slowdown=0", "slo: slowdown is '0', expected a number above 0"),
        ("ttft=1,ttft=2", "expected objectives, each once"),
    ],
)
@pytest.mark.parametrize("command", ["run", "compare", "sweep"])
def test_a_bad_objective_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, slo: str, complaint: str
) -> None:
    more = ("--policies", "lru,ttl", "--out", tmp_path / "out") if command == "sweep" else ()
    assert complaint in refused(capsys, command, "--slo", slo, *more)


def test_a_sweep_has_columns_of_it(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"limit": 4, "max_turns": 3, "kv_blocks": 1500, "slo": {"p95_jct": 300, "ttft": 2}}
    frame = cs.sweep(["lru"], [1], "0", out=tmp_path / "sweep", jobs=1, **settings).frame()
    names = ("tpot_p90_s", "itl_mean_s", "e2el_p99_s", "slowdown_p95", "fairness_jain")
    names += ("output_tokens_per_gpu_s", "interactivity_tokens_per_s_p90", "slo_turn_share", "slo_good_programs_per_s")
    assert frame.loc[0, list(names)].notna().all()
    assert json.loads(frame.loc[0, "slo"]) == {"p95_jct": 300, "ttft": 2}
    assert len(json.loads(frame.loc[0, "slo_objectives"])) == 2
