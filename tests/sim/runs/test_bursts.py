"""Runs with a burst, through public entry points: recovery as told by a run, a comparison and a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import continuum_sim as cs
from continuum_sim.cli.progress import Bar
from continuum_sim.results.recorder import Progress
from continuum_sim.results.summary import RunRecovery, RunVerdict
from continuum_sim.runs.execute import execute
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steady.recovery import recovery
from continuum_sim.sweeps.row import make_row
from support.cli import printed
from support.programs import program, turn
from support.steptimes import constant

SMALL = [program(name, turn(400, 20, gap=1.0), turn(500, 20), at=None) for name in "abcdefgh"]
ENGINE = {"kv_blocks": 400, "max_model_len": 2000, "step_time": constant(0.05), "trace": SMALL}
LOAD = ("--limit", "5", "--max-turns", "2", "--rate", "0.05")


def recovered(**settings: object) -> tuple[cs.RunResult, RunRecovery]:
    run = cs.run(policy="lru", **{"programs": 260, "rate": 0.5, **ENGINE, **settings})  # type: ignore[arg-type]
    assert isinstance(run.summary.recovery, RunRecovery)
    return run, run.summary.recovery


def test_a_burst_is_measured_against_the_same_load_without_it() -> None:
    run, found = recovered(burst="60@100", seed=3)
    alone = cs.run(policy="lru", programs=260, rate=0.5, seed=3, **ENGINE)
    rest = run.programs[~run.programs.program.str.contains("+", regex=False)]
    both = rest.merge(alone.programs, on="program", suffixes=("", "_alone"), validate="1:1").sort_values("arrival_s")
    assert len(both) == 260
    assert np.array_equal(both.arrival_s, both.arrival_s_alone)
    by_hand = recovery(both.arrival_s, both.jct_s, both.jct_s_alone, 100.0)
    assert (found.recovered, found.after_s, found.after_programs) == (True, by_hand.seconds, by_hand.programs)
    assert (found.burst_programs, found.burst_at_s, found.without) == (60, 100.0, "steady")
    assert found.looked_at_programs == int((both.arrival_s >= 100).sum())


def test_one_that_never_ends_has_not_recovered_and_the_load_is_to_blame_where_it_is() -> None:
    _, found = recovered(burst=60, rate=2.0, max_num_seqs=1)
    assert (found.recovered, found.after_s, found.without) == (False, None, "grows")
    assert (found.last_ratio or 0) > 1.1


def test_there_is_none_where_there_is_no_burst() -> None:
    for start in ("empty", "loaded"):
        run = cs.run(policy="lru", programs=20, rate=0.5, start=start, **ENGINE)  # type: ignore[arg-type]
        assert not isinstance(run.summary.recovery, RunRecovery)
        assert "recovery" not in json.loads(run.summary.to_json())


def test_progress_goes_on_through_both_servings_and_ends_at_all() -> None:
    seen: list[Progress] = []
    run = resolve(RunConfig(policy="lru", programs=100, rate=0.5, burst=30, **ENGINE))  # type: ignore[arg-type]
    execute(run, progress=seen.append)
    assert [now.programs for now in seen] == sorted(now.programs for now in seen)
    assert [now.turns for now in seen] == sorted(now.turns for now in seen)
    assert (seen[-1].programs, seen[-1].turns) == (230, 460)
    assert "of 230 programs" in str(Bar(run))


def test_a_run_says_it_and_repeats_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ("--programs", "220", "--burst", "30@600", "--policy", "lru", "--out", tmp_path / "r")
    shown = printed(capsys, "run", *LOAD, *flags)
    assert shown.split("\n\n")[1].splitlines()[1].startswith("burst  30 programs at 600 s: recovers")
    printed(capsys, "run", "--from", tmp_path / "r", "--out", tmp_path / "again")
    first, again = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("r", "again"))
    assert first["recovery"] == again["recovery"]
    assert (tmp_path / "r" / "programs.parquet").read_bytes() == (tmp_path / "again" / "programs.parquet").read_bytes()
    assert "nothing tells" in printed(capsys, "run", *LOAD, "--policy", "lru", "--burst", "2@1e6")


def test_a_comparison_counts_the_runs_that_recover() -> None:
    compared = cs.compare(["lru", "ttl"], [0, 1], programs=100, rate=0.5, burst=30, **ENGINE)  # type: ignore[arg-type]
    row = compared.rows[0].recovery
    assert row is not None
    assert (row.recovered, row.runs) == (2, 2)
    runs = [one.recovery for one in compared.summaries[:2]]
    assert row.after_s == pytest.approx(np.mean([run.after_s for run in runs]))  # type: ignore[union-attr]
    assert json.loads(compared.to_json())["policies"][0]["recovery"]["after_s"] == row.after_s
    assert compared.table.recovery.tolist() == [2, 2]
    shown = [fact.text for fact in compared.view().blocks[1].rows]  # type: ignore[union-attr]
    assert len(shown) == 2
    assert all(text.startswith("30 programs at 0 s: recovers in 2 of 2 runs, after") for text in shown)


def test_a_row_of_a_sweep_has_columns_of_it() -> None:
    for settings, burst, left_out in (({"burst": 30}, 30, None), ({"start": "loaded"}, None, "+"), ({}, None, None)):
        config = RunConfig(policy="lru", programs=60, rate=0.5, warmup=0, **settings, **ENGINE)  # type: ignore[arg-type]
        run = resolve(config)
        row = make_row("cell", run, execute(run, keep=["programs"]))
        assert (row["recovery_burst_programs"], row["measured_left_out"]) == (burst, left_out)
        assert (row["recovery_recovered"], row["recovery_looked_at_programs"]) == (
            (True, 60) if burst else (None, None)
        )
        assert len(row["program_jct_s"]) == 60 + (burst or 0)


def verdict(**settings: object) -> RunVerdict:
    said = cs.run(policy="lru", **{"programs": 600, "rate": 0.2, **ENGINE, **settings}).summary.verdict  # type: ignore[arg-type]
    assert isinstance(said, RunVerdict)
    return said


def test_the_verdict_is_on_what_comes_after_the_fall() -> None:
    said = verdict(burst="100@200", max_num_seqs=1, seed=1)
    assert said.kind == "steady"
    assert said.from_s is not None
    assert said.from_s > 300
    assert said.programs is not None
    assert said.hazard == 3 / said.programs
    assert verdict(start="loaded", max_num_seqs=1, seed=1).kind == "steady"


def test_growth_after_a_burst_is_growth() -> None:
    for settings in ({"burst": 100}, {"start": "loaded"}):
        assert verdict(rate=1.5, max_num_seqs=1, **settings).kind == "grows"


def test_there_is_no_verdict_where_nothing_comes_after_the_burst() -> None:
    said = verdict(programs=20, burst="5@9000")
    assert (said.kind, said.reason) == ("none", "no program arrives after the burst")
