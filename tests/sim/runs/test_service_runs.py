"""Runs with a length, through public entry points: what counts, the verdict, and that nothing else changes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import continuum_sim as cs
from continuum_sim.results.summary import Measured, RunVerdict
from support.cli import printed, refused
from support.programs import program, turn
from support.steptimes import constant

SMALL = [program(name, turn(400, 20, gap=1.0), turn(500, 20), at=None) for name in "abcdefgh"]
ENGINE = {"kv_blocks": 400, "max_model_len": 2000, "step_time": constant(0.05), "trace": SMALL}
ALONE_S = 43 * 0.05 + 1.0
"""Upper bound on each program's JCT alone: 2 prefills, 2 × 20 tokens and a tool call."""


def test_a_load_that_lasts_and_one_that_does_not() -> None:
    steady = cs.run(policy="lru", programs=400, rate=0.3, **ENGINE)
    assert isinstance(steady.summary.verdict, RunVerdict)
    assert steady.summary.verdict.kind == "steady"
    assert steady.summary.verdict.hazard == 3 / 400
    grows = cs.run(policy="lru", programs=400, rate=50.0, max_num_seqs=1, **ENGINE)
    assert isinstance(grows.summary.verdict, RunVerdict)
    assert grows.summary.verdict.kind == "grows"
    served = 400 / grows.summary.sim_s
    assert grows.summary.verdict.growth_per_s is not None
    assert grows.summary.verdict.growth_per_s.value == pytest.approx(50 - served, rel=0.2)  # of one draw of arrivals


def test_stepwise_gives_the_same_verdict() -> None:
    runs = [cs.run(policy="ttl", programs=250, rate=1.0, engine=mode, **ENGINE) for mode in ("fast", "stepwise")]
    fast, stepwise = (run.summary.verdict for run in runs)
    assert isinstance(fast, RunVerdict)
    assert isinstance(stepwise, RunVerdict)
    assert fast.kind == stepwise.kind
    assert (fast.z, fast.v) == pytest.approx((stepwise.z, stepwise.v))  # steps of a jump are summed in another order


@pytest.mark.parametrize(
    ("settings", "kind", "reason"),
    [
        ({}, "too_short", "8 programs, and a verdict takes 200"),
        ({"arrivals": "burst"}, "none", "all programs arrive at once"),
        ({"arrivals": "closed:workers=2", "programs": 300}, "none", "in a closed load"),
        ({"programs": 201, "rate": 4.0}, "too_short", "mean JCTs, and a verdict takes 20"),
    ],
)
def test_where_there_is_no_answer_it_says_why(settings: dict[str, object], kind: str, reason: str) -> None:
    verdict = cs.run(policy="lru", **{**ENGINE, **settings}).summary.verdict  # type: ignore[arg-type]
    assert isinstance(verdict, RunVerdict)
    assert (verdict.kind, reason in (verdict.reason or "")) == (kind, True)


def test_a_few_programs_that_pile_up_are_called_a_transient() -> None:
    result = cs.run(policy="lru", rate=50.0, **ENGINE)
    crowd = result.summary
    assert isinstance(crowd.verdict, RunVerdict)
    assert crowd.verdict.window_s is not None
    times = result.programs["finish_s"].max() / crowd.verdict.window_s
    assert f"This is a transient: serving took {times:.1f} times as long as arriving" in str(crowd.verdict.reason)
    calm = cs.run(policy="lru", rate=0.001, **ENGINE).summary
    assert "transient" not in str(calm.verdict)
    both = cs.compare(["lru"], [0, 1], rate=50.0, **ENGINE)
    assert "This is a transient" in str(both.rows[0].verdict)


def test_the_warm_up_is_served_and_does_not_count() -> None:
    run = cs.run(policy="lru", programs=100, rate=0.5, warmup=20, cooldown="10%", **ENGINE)
    programs = run.programs.sort_values("arrival_s")
    assert len(programs) == 100
    counted = programs.iloc[20:90]
    assert run.summary.programs == 100
    measured = run.summary.measured
    assert isinstance(measured, Measured)
    assert measured.programs == 70
    assert (measured.from_s, measured.to_s) == (counted.arrival_s.iloc[0], counted.arrival_s.iloc[-1])
    assert run.summary.jct_s.mean == pytest.approx(counted.jct_s.mean())
    assert run.summary.time_s.tool == pytest.approx(counted.tool_s.mean())
    assert sum(vars_of(run.summary.time_share)) == pytest.approx(1)
    turns = run.turns[(run.turns.arrival_s >= measured.from_s) & (run.turns.arrival_s <= measured.to_s)]
    assert measured.turns == len(turns)
    assert run.summary.ttft_s.mean == pytest.approx((turns.first_token_s - turns.arrival_s).mean())


def vars_of(split: object) -> list[float]:
    return [getattr(split, name) for name in type(split).__struct_fields__]  # type: ignore[attr-defined]


def test_a_tenth_is_left_out_of_runs_of_a_length_and_nothing_of_a_replay() -> None:
    assert isinstance(cs.run(policy="lru", programs=50, rate=0.5, **ENGINE).summary.measured, Measured)
    assert not isinstance(cs.run(policy="lru", **ENGINE).summary.measured, Measured)
    assert not isinstance(cs.run(policy="lru", programs=50, warmup=0, rate=0.5, **ENGINE).summary.measured, Measured)


def test_a_duration_ends_arrivals_and_not_the_run() -> None:
    run = cs.run(policy="lru", duration=100.0, rate=1.0, **ENGINE)
    assert 60 < run.summary.programs < 140
    assert run.programs.arrival_s.max() <= 100 < run.programs.finish_s.max()
    closed = cs.run(policy="lru", duration=100.0, arrivals="closed:workers=3", **ENGINE)
    assert closed.programs.arrival_s.max() <= 100 < closed.programs.finish_s.max()
    assert closed.summary.programs >= 3 * math.floor(100 / (3 * ALONE_S))


def test_all_policies_meet_the_same_programs_in_the_same_order() -> None:
    compared = cs.compare(["lru", "program-fifo"], [0, 1], programs=60, rate=0.5, **ENGINE)
    frame = compared.programs.sort_values(["arrival_s"])
    orders = {key: list(part.program) for key, part in frame.groupby(["policy", "seed"])}
    assert orders["lru", 0] == orders["program-fifo", 0] != orders["lru", 1]
    assert [row.programs for row in compared.rows] == [108, 108]  # a tenth of each run does not count
    assert compared.rows[0].jct_mean_s == pytest.approx(np.mean([s.jct_s.mean for s in compared.summaries[:2]]))
    assert {one.pairs for one in compared.paired} == {108}


def test_sweeps_take_a_length_and_vary_it() -> None:
    swept = cs.sweep(["lru"], rates=[0.5], vary={"duration": [100.0, 200.0]}, programs=90, limit=8, max_turns=2)
    cells = swept.frame(programs=True)
    assert swept.axes == ["duration"]
    assert set(cells.programs_asked) == {90}
    assert sorted(cells.programs)[0] < 70 < sorted(cells.programs)[1] <= 90
    assert set(cells.verdict_kind) == {"too_short"}
    assert (cells.verdict_growth_per_s_low <= cells.verdict_growth_per_s_value).all()
    assert [len(jct_s) for jct_s in cells.program_jct_s] == list(cells.measured_programs)


def test_the_verdict_comes_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ("--limit", "5", "--max-turns", "2", "--programs", "220", "--rate", "0.05")
    shown = printed(capsys, "run", "--policy", "lru", *flags, "--out", tmp_path / "r")
    head = shown.split("\n\n")[1]
    assert head.startswith("load  steady over 220 programs")
    kept = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert kept["verdict"]["kind"] == "steady"
    assert kept["measured"]["programs"] == 198
    compared = printed(capsys, "compare", "--policies", "lru,ttl", "--seeds", "0", *flags)
    assert compared.split("\n\n")[1].count("steady over 220 programs") == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--programs", "5", "--warmup", "9"), "leave none of 5 programs"),
        (("--duration", "0.5"), "no program arrives within the duration of 0.5 s"),
        (("--programs", "0"), "programs is 0, expected a whole number of at least 1"),
        (("--duration", "0"), "duration is 0.0, expected a number of seconds above 0"),
    ],
)
def test_a_length_that_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert said in refused(capsys, "run", "--policy", "lru", *flags)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("v",), 0),
        (("window_s",), 0),
        (("z",), 1e300),
        (("growth_per_s", "high"), 1e300),
        (("growth_per_s", "low"), "x"),
    ],
)
def test_a_verdict_that_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, place: tuple[str, ...], value: object
) -> None:
    printed(
        capsys,
        "compare",
        "--policies",
        "lru",
        "--seeds",
        "0",
        "--limit",
        "3",
        "--max-turns",
        "2",
        "--out",
        tmp_path / "c",
    )
    path = tmp_path / "c" / "runs" / "lru-seed0" / "summary.json"
    summary = json.loads(path.read_text())
    inner = summary["verdict"]
    for key in place[:-1]:
        inner = inner[key]
    assert place[-1] in inner
    inner[place[-1]] = value
    path.write_text(json.dumps(summary))
    assert str(path) in refused(capsys, "report", tmp_path / "c", "--out", tmp_path / "r.html")
