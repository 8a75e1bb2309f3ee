"""`cs.sweep`: rows, failures, resuming."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import continuum_sim as cs
from continuum_sim.policies import Policy, Retention
from continuum_sim.policies.planes import Admission, Decision
from continuum_sim.policies.views import Moment, ProgramView, TurnView
from continuum_sim.sweeps import run as sweep_run
from continuum_sim.sweeps.plan import Cell
from continuum_sim.sweeps.row import _summary_columns as summary_columns
from continuum_sim.sweeps.row import columns
from continuum_sim.sweeps.store import part_files
from support.programs import program, turn
from support.steptimes import affine

TINY: dict[str, Any] = {"limit": 6, "max_turns": 6, "kv_blocks": 1300, "step_time": affine(), "jobs": 1}


def data(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in part_files(directory)}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Identities of the cells that actually run, in order; the test fails if one runs twice."""
    done: list[str] = []
    inner = sweep_run.run_cell

    def run_cell(cell: Cell) -> Any:
        done.append(cell.id)
        return inner(cell)

    monkeypatch.setattr(sweep_run, "run_cell", run_cell)
    return done


def test_a_row_has_settings_as_they_were_asked_for() -> None:
    vary = {"prefix_cache_retention_interval": [0, "none", 1024]}
    small = TINY | {"limit": 1, "max_turns": 2, "kv_blocks": 20_000}
    frame = cs.sweep(["lru"], [1.0], [0], vary=vary, model="gemma-3-12b", **small).frame()
    assert list(frame["prefix_cache_retention_interval"]) == ["0", "none", "1024"]
    assert list(frame["max_num_seqs"]) == [256] * 3, "and defaults filled in"


def test_a_row_is_the_run_of_its_cell() -> None:
    result = cs.sweep(["lru", "ttl-static:ttl=1"], [1.0, 2.0], [3], **TINY)
    frame = result.frame(programs=True)
    assert list(frame.columns) == list(columns())
    settings = {name: value for name, value in TINY.items() if name != "jobs"}
    for _, row in frame.iterrows():
        arrivals = f"poisson:rate={row['rate_per_s']:g}"
        alone = cs.run(policy=row["policy"], arrivals=arrivals, seed=int(row["seed"]), **settings)
        s = alone.summary
        assert (row["jct_mean_s"], row["jct_p95_s"], row["ttft_p50_s"]) == (s.jct_s.mean, s.jct_s.p95, s.ttft_s.p50)
        assert (row["queue_s"], row["tool_s"], row["queue_share"]) == (
            s.time_s.queue,
            s.time_s.tool,
            s.time_share.queue,
        )
        assert (row["pins_made"], row["pins_hit"], row["preemptions"]) == (s.pins.made, s.pins.hit, s.preemptions)
        assert (row["programs_per_s"], row["computed_tokens"]) == (
            s.throughput.programs_per_s,
            s.prefill.computed_tokens,
        )
        assert row["arrivals"] == s.arrivals
        assert row["busy_share"] == s.busy_s / s.sim_s
        assert (row["kv_blocks"], row["max_num_batched_tokens"]) == (1300, 2048)  # a default, filled in
        by_name = alone.programs.sort_values("program")["jct_s"]
        assert row["program_jct_s"].tolist() == by_name.tolist()
    assert pd.isna(frame.loc[frame["policy"] == "lru", "pin_hit_share"]).all()


def test_every_number_of_a_summary_is_a_column() -> None:
    """An entry added to the summary is a column of sweeps at once."""

    def leaves(value: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        if not isinstance(value, dict):
            return {path}
        return {leaf for name, item in value.items() for leaf in leaves(item, (*path, name))}

    settings = {name: value for name, value in TINY.items() if name != "jobs"}
    for replicas in (1, 2):
        raw = json.loads(cs.run(policy="ttl", replicas=replicas, **settings).summary.to_json())
        assert leaves(raw) - {path for _, _, path in summary_columns()} == {("wall_s",)}
    names = [name for name, _, _ in summary_columns()]
    assert len(names) == len(set(names))
    assert set(names) <= set(columns())


def test_a_cluster_is_a_row_too() -> None:
    frame = cs.sweep("lru", "2", "0", vary={"replicas": "1;2;a100-80:1,h100:1"}, **_but("step_time")).frame()
    assert frame["replicas"].tolist() == ["1", "2", "a100-80:1,h100:1"]
    assert frame["router"].isna().tolist() == [True, False, False]
    assert frame["moved_turns"].isna().tolist() == [True, False, False]
    assert [len(json.loads(item)) for item in frame["summary_replicas"].dropna()] == [2, 2]


def test_the_dataset_is_plain_parquet(tmp_path: Path) -> None:
    result = cs.sweep("lru,ttl", "2", "0-2", out=tmp_path / "s", **TINY)
    frame = pd.read_parquet(tmp_path / "s" / "cells")
    assert len(frame) == 6 == len(result)
    pd.testing.assert_frame_equal(frame, result.frame(programs=True), check_dtype=False)
    assert frame["policy"].tolist() == ["lru"] * 3 + ["ttl"] * 3


def test_finished_cells_never_run_again(tmp_path: Path, ran: list[str]) -> None:
    cs.sweep("lru,ttl", "2", "0-1", out=tmp_path / "s", **TINY)
    before = data(tmp_path / "s")
    assert len(ran) == 4
    cs.sweep("lru,ttl", "2", "0-1", out=tmp_path / "s", **TINY)
    assert len(ran) == 4
    assert data(tmp_path / "s") == before
    cs.sweep("lru,ttl", "2", "0-2", out=tmp_path / "s", **TINY)
    assert len(ran) == 6 == len(set(ran))
    cs.sweep("lru,ttl", "2", "0-2", out=tmp_path / "whole", **TINY)
    assert data(tmp_path / "s") == data(tmp_path / "whole")


def test_a_changed_setting_never_passes_as_the_old_one(tmp_path: Path, ran: list[str]) -> None:
    cs.sweep("lru", "2", "0", out=tmp_path / "s", **TINY)
    other = cs.sweep("lru", "2", "0", out=tmp_path / "s", **{**TINY, "kv_blocks": 1400})
    assert len(ran) == 2
    assert other.frame()["kv_blocks"].tolist() == [1400]
    both = cs.load_sweep(tmp_path / "s")
    assert sorted(both.frame()["kv_blocks"]) == [1300, 1400]
    assert both.axes == ["kv_blocks"]


def test_a_changed_trace_is_run_again(tmp_path: Path, ran: list[str]) -> None:
    from continuum_sim.traces import write_programs

    path = tmp_path / "mine.jsonl"
    settings = {name: value for name, value in TINY.items() if name not in ("limit", "max_turns")}
    for tokens in (8, 9):
        write_programs(path, [program("a", turn(64, tokens), at=0.0)])
        cs.sweep("lru", out=tmp_path / "s", trace=path, **settings)
    assert len(ran) == 2


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_interrupted_sweep_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    grid = {"policies": "lru,ttl", "rates": "2", "seeds": "0-2", **TINY}
    cs.sweep(**grid, out=tmp_path / "whole")
    inner, seen = sweep_run.run_cell, []

    def run_cell(cell: Cell) -> Any:
        if len(seen) == after:
            raise KeyboardInterrupt
        seen.append(cell.id)
        return inner(cell)

    monkeypatch.setattr(sweep_run, "run_cell", run_cell)
    with pytest.raises(KeyboardInterrupt):
        cs.sweep(**grid, out=tmp_path / "s")
    assert sum(len(pd.read_parquet(path)) for path in part_files(tmp_path / "s")) == after
    monkeypatch.setattr(sweep_run, "run_cell", inner)
    cs.sweep(**grid, out=tmp_path / "s")
    assert data(tmp_path / "s") == data(tmp_path / "whole")


def test_cells_that_fail_do_not_stop_the_others(tmp_path: Path, ran: list[str]) -> None:
    result = cs.sweep("lru,ttl", "2", "0", vary={"kv_blocks": [1, 60, 1300]}, out=tmp_path / "s", **_but("kv_blocks"))
    assert result.frame()["policy"].tolist() == ["lru", "ttl"]
    assert [(f.settings["kv_blocks"], f.settings["policy"]) for f in result.failures] == [
        (1, "lru"),
        (1, "ttl"),
        (60, "lru"),
        (60, "ttl"),
    ]
    assert "expected a whole number of at least 2" in result.failures[0].reason
    assert "KV blocks of 16 tokens, but the engine has 59 usable" in result.failures[2].reason
    assert json.loads((tmp_path / "s" / "failures.json").read_bytes())[3]["reason"] == result.failures[3].reason
    cs.sweep("lru,ttl", "2", "0", out=tmp_path / "s", **TINY)
    assert not (tmp_path / "s" / "failures.json").exists()
    assert len(ran) == 4  # the two that worked had been run


def _but(*names: str) -> dict[str, Any]:
    return {name: value for name, value in TINY.items() if name not in names}


@dataclass(frozen=True)
class Broken(Retention):
    """Divides by zero."""

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        raise ZeroDivisionError("no tools")


@dataclass(frozen=True)
class Closed(Admission):
    """Admits nothing."""

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return False


def test_a_fault_in_somebodys_policy_is_that_cells_alone() -> None:
    policies = [Policy("broken", retention=Broken()), Policy("closed", admission=Closed()), "lru"]
    result = cs.sweep(policies, [2.0], [0], **TINY)
    assert result.frame()["policy"].tolist() == ["lru"]
    reasons = [failure.reason for failure in result.failures]
    assert reasons[0].startswith("ZeroDivisionError: no tools (")
    assert "test_run.py:" in reasons[0]
    assert "is stuck" in reasons[1]


def test_differences_are_those_of_compare() -> None:
    settings = {**TINY, "arrivals": "poisson:rate=2"}
    swept = cs.sweep("lru,ttl-static,ttl", None, "0-5", **settings).differences(baseline="lru")
    compared = cs.compare(["lru", "ttl-static", "ttl"], range(6), **settings).differences
    assert swept["policy"].tolist() == compared["policy"].tolist()
    pd.testing.assert_frame_equal(swept[list(compared.columns)], compared)


def test_differences_are_taken_scene_by_scene_along_any_axis() -> None:
    settings = _but("kv_blocks")
    result = cs.sweep("lru,ttl", [1.0, 2.0], "0-1", vary={"kv_blocks": [1300, 1600]}, **settings)
    assert result.axes == ["policy", "seed", "kv_blocks", "rate_per_s"]
    memory = result.differences("kv_blocks", baseline=1300).query("metric == 'mean'")
    assert len(memory) == 4
    frame = result.frame().set_index(["policy", "rate_per_s", "kv_blocks"]).sort_index()["jct_mean_s"]
    for _, row in memory.iterrows():
        key = (row["policy"], row["rate_per_s"])
        assert row["difference_s"] == pytest.approx(frame[(*key, 1600)].mean() - frame[(*key, 1300)].mean())
    with pytest.raises(cs.ConfigError, match="unknown axis 'model'"):
        result.differences("model")
    with pytest.raises(cs.ConfigError, match="baseline 'fcfs' is not a value of policy: lru, ttl"):
        result.differences(baseline="fcfs")


def test_settings_that_go_together_leave_nothing_to_pair_alone() -> None:
    result = cs.sweep("lru", [2.0], "0", cells=[{"gpu": "a100-80"}, {"gpu": "h100", "watermark": 0.01}], **TINY)
    with pytest.raises(cs.ConfigError, match="no two cells differ in gpu alone"):
        result.differences("gpu")


def test_programs_at_hand_are_swept_without_being_shipped() -> None:
    programs = (program(f"p{n}", turn(100, 5, gap=1.0), turn(120, 5), at=float(n)) for n in range(5))
    result = cs.sweep("lru,ttl", seeds="0", trace=programs, step_time=affine(), kv_blocks=60, jobs=1)
    assert result.failures == []
    frame = result.frame(programs=True)
    assert frame["programs"].tolist() == [5, 5]
    assert [len(jct_s) for jct_s in frame["program_jct_s"]] == [5, 5]
    assert np.isfinite(np.concatenate(frame["program_jct_s"].tolist())).all()


def test_progress_says_what_was_done_before(tmp_path: Path) -> None:
    cs.sweep("lru", "2", "0-1", out=tmp_path / "s", **TINY)
    seen: list[Sequence[int]] = []
    cs.sweep("lru", "2", "0-3", out=tmp_path / "s", progress=seen.append, **TINY)
    assert seen == [(4, 2, 0, 0), (4, 2, 1, 0), (4, 2, 2, 0)]


def test_the_manifest_tells_what_it_takes_to_do_it_again(tmp_path: Path) -> None:
    for seeds in ("0", "0-1"):
        cs.sweep("lru", "2", seeds, out=tmp_path / "s", **TINY)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_bytes())
    assert manifest["asked"]["grid"] == {"policy": "lru", "rate": "2", "seed": "0-1"}
    assert manifest["asked"]["base"]["limit"] == 6
    assert [(s["skipped"], s["done"], s["failed"]) for s in manifest["sessions"]] == [(0, 1, 0), (1, 1, 0)]
    assert manifest["traces"][0]["trace"] == "swebench.jsonl"
    assert len(manifest["traces"][0]["sha256"]) == 64
    assert set(manifest["columns"]) == set(columns())


def test_a_result_without_a_place_cleans_up_behind_itself() -> None:
    result = cs.sweep("lru", "2", "0", **TINY)
    directory = result.directory
    assert directory.is_dir()
    del result
    assert not directory.exists()


def test_two_workers_make_the_same_bytes_as_one(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"policies": "lru,ttl", "rates": "2", "seeds": "0-3", **TINY}
    cs.sweep(**grid, out=tmp_path / "one")
    cs.sweep(**{**grid, "jobs": 2}, out=tmp_path / "two")
    assert data(tmp_path / "one") == data(tmp_path / "two")
    assert os.listdir(tmp_path / "two" / "cells") == ["cells.parquet"]
