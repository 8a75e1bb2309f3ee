"""`cs.compare`: policies side by side on the same load."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import continuum_sim as cs
from support.programs import program, turn
from support.steptimes import affine

TINY: dict[str, Any] = {
    "step_time": affine(),
    "kv_blocks": 1500,
    "limit": 12,
    "max_turns": 8,
    "arrivals": "poisson:rate=2",
}


@pytest.fixture(scope="module")
def result() -> cs.CompareResult:
    return cs.compare(["fcfs", "lru", "ttl-static:ttl=1.5"], [3, 4], **TINY)


def test_every_policy_meets_the_same_programs_and_arrivals(result: cs.CompareResult) -> None:
    programs = result.programs
    assert len(programs) == 3 * 2 * 12
    arrivals = programs.pivot_table(index=["seed", "program"], columns="policy", values="arrival_s")
    assert arrivals.shape == (24, 3)
    assert (arrivals.nunique(axis=1) == 1).all()
    tools = programs.pivot_table(index=["seed", "program"], columns="policy", values="tool_s")
    np.testing.assert_allclose(tools.std(axis=1), 0, atol=1e-9)


def test_each_run_is_the_one_that_run_gives(result: cs.CompareResult) -> None:
    alone = cs.run(policy="lru", seed=4, **TINY)
    row = result.programs.query("policy == 'lru' and seed == 4").drop(columns=["policy", "seed"])
    assert row.reset_index(drop=True).equals(alone.programs)
    summary = next(s for s in result.summaries if (s.policy, s.seed) == ("lru", 4))
    assert summary.jct_s == alone.summary.jct_s


def test_the_table_is_over_all_seeds(result: cs.CompareResult) -> None:
    table = result.table
    assert table.index.tolist() == result.policies == ["fcfs", "lru", "ttl-static:ttl=1.5"]
    lru = result.programs.query("policy == 'lru'")
    assert table.loc["lru", "programs"] == 24
    assert table.loc["lru", "jct_mean_s"] == pytest.approx(lru["jct_s"].mean())
    assert table.loc["lru", "jct_p95_s"] == pytest.approx(np.percentile(lru["jct_s"], 95))
    split = table[["queue_s", "prefill_s", "decode_s", "preempted_s", "tool_s"]].sum(axis=1)
    np.testing.assert_allclose(split, table["jct_mean_s"])
    pins = [s.pins.made for s in result.summaries if s.policy == "ttl-static:ttl=1.5"]
    assert table.loc["ttl-static:ttl=1.5", "pins_made"] == np.mean(pins) > 0


def test_differences_are_paired_and_against_the_first(result: cs.CompareResult) -> None:
    differences = result.differences
    assert set(differences["baseline"]) == {"fcfs"}
    assert differences["policy"].unique().tolist() == ["lru", "ttl-static:ttl=1.5"]
    jct_s = result.programs.pivot_table(index=["seed", "program"], columns="policy", values="jct_s")
    mean = differences.query("policy == 'lru' and metric == 'mean'").iloc[0]
    assert mean["difference_s"] == pytest.approx((jct_s["lru"] - jct_s["fcfs"]).mean())
    assert mean["ratio"] == pytest.approx(jct_s["lru"].mean() / jct_s["fcfs"].mean())
    assert mean["pairs"] == 24
    assert mean["difference_low_s"] < mean["difference_s"] < mean["difference_high_s"]
    assert (mean["runs"], mean["drawn"], mean["verdict"], mean["beyond_noise"]) == (2, False, "too few seeds", False)


def test_five_seeds_make_a_verdict_and_the_smallest_effect_is_a_choice() -> None:
    named = {}
    for least in (0.0, 0.9):
        result = cs.compare(["fcfs", "lru"], min_effect=least, **TINY)
        assert result.seeds == [0, 1, 2, 3, 4]
        (mean,) = (item for item in result.paired if item.metric == "mean")
        assert json.loads(result.to_json())["min_effect"] == least
        named[least] = (mean.verdict, mean.beyond_noise, result.differences["beyond_noise"].any())
    assert named == {0.0: ("faster", True, True), 0.9: ("equal", False, False)}
    with pytest.raises(cs.ConfigError, match="min_effect is 2, expected a share below 1"):
        cs.compare(["fcfs", "lru"], min_effect=2, **TINY)


def test_any_policy_may_be_the_baseline(result: cs.CompareResult) -> None:
    turned = cs.compare(["fcfs", "lru"], [3, 4], baseline="lru", **TINY)
    (ours,) = (d for d in turned.paired if d.metric == "mean")
    (theirs,) = (d for d in result.paired if d.metric == "mean" and d.policy == "lru")
    assert (ours.policy, ours.baseline) == ("fcfs", "lru")
    assert ours.difference_s == -theirs.difference_s
    assert ours.ratio == pytest.approx(1 / theirs.ratio)


def test_two_processes_give_the_same_results(result: cs.CompareResult, tmp_path: Path) -> None:
    parallel = cs.compare(["fcfs", "lru", "ttl-static:ttl=1.5"], [3, 4], jobs=2, out=tmp_path / "cmp", **TINY)
    assert parallel.programs.equals(result.programs)
    assert parallel.differences.equals(result.differences)
    assert parallel.table.equals(result.table)
    ours, theirs = (re.sub(r'"wall_s": .*', "", one.to_json()) for one in (parallel, result))
    assert ours == theirs


def test_at_a_load_with_memory_to_spare_no_policy_differs() -> None:
    settings = {**TINY, "kv_blocks": 100_000, "arrivals": "uniform:rate=0.001"}
    (mean, *_) = cs.compare(["lru", "ttl"], **settings).paired
    assert mean.ratio == pytest.approx(1)
    assert mean.verdict == "equal"


def test_a_note_says_of_how_many_runs_it_is(result: cs.CompareResult) -> None:
    for row in result.rows:
        runs = [set(summary.notes) for summary in result.summaries if summary.policy == row.policy]
        for note in row.notes:
            plain, _, share = note.partition(" (in ")
            n = sum(plain in notes for notes in runs)
            assert share == (f"{n} of {len(runs)} runs)" if n < len(runs) else "")
        assert {note.partition(" (in ")[0] for note in row.notes} == set.union(*runs)


def test_what_is_written(tmp_path: Path, result: cs.CompareResult) -> None:
    out = tmp_path / "cmp"
    cs.compare(["fcfs", "ttl-static:ttl=1.5"], [3], out=out, **TINY)
    assert sorted(path.name for path in out.iterdir()) == ["comparison.json", "manifest.json", "runs"]
    comparison = json.loads((out / "comparison.json").read_text())
    assert [row["policy"] for row in comparison["policies"]] == ["fcfs", "ttl-static:ttl=1.5"]
    manifest = json.loads((out / "manifest.json").read_text())
    runs = [cs.load_run(out / run) for run in manifest["runs"]]
    assert [run.summary.policy for run in runs] == ["fcfs", "ttl-static:ttl=1.5"]
    expected = result.programs.query("policy == 'fcfs' and seed == 3")["jct_s"].tolist()
    assert runs[0].programs["jct_s"].tolist() == expected
    assert len(runs[0].timeline) > 0


def test_programs_from_an_iterator_serve_every_run() -> None:
    programs = [program(name, turn(40, 5, gap=1.0), turn(60, 3)) for name in "abc"]
    result = cs.compare(["lru", "fcfs"], [0, 1], trace=iter(programs), step_time=affine(), kv_blocks=100)
    assert [summary.programs for summary in result.summaries] == [3] * 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"policies": []}, "at least one policy and one seed"),
        ({"policies": ["lru"], "seeds": []}, "at least one policy and one seed"),
        ({"policies": ["lru", "lru"]}, "policy 'lru' appears twice"),
        ({"policies": ["lru"], "seeds": [1, 1]}, "seed 1 appears twice"),
        ({"policies": ["lru"], "baseline": "fcfs"}, "baseline 'fcfs' is not one of the policies compared: lru"),
        ({"policies": ["lru"], "baseline": "fcsf"}, "did you mean 'fcfs'"),
        ({"policies": ["lru", "tll"]}, "did you mean 'ttl'"),
        ({"policies": ["lru"], "jobs": 0}, "jobs is 0"),
        ({"policies": ["lru"], "gpu": "h1000"}, "did you mean 'H100'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    arguments: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr("continuum_sim.runs.comparison.execute", fail)
    with pytest.raises((cs.ConfigError, cs.PolicyError), match=complaint):
        cs.compare(**{**TINY, **arguments})


@pytest.mark.parametrize(
    ("door", "arguments", "said"),
    [
        ("run", {"kv_block": 3}, "unknown setting 'kv_block' of run, did you mean 'kv_blocks'?"),
        ("run", {"outt": "x"}, "unknown setting 'outt' of run, did you mean 'out'?"),
        ("compare", {"policies": ["lru"], "kv_block": 3}, "'kv_block' of compare, did you mean 'kv_blocks'?"),
        ("compare", {"policies": ["lru"], "policy": "lru"}, "'policy' of compare, did you mean 'policies'?"),
        ("sweep", {"policies": ["lru"], "max_num_seq": 3}, "'max_num_seq' of sweep, did you mean 'max_num_seqs'?"),
        ("tune", {"policy": "ttl", "gpus": "h100"}, "'gpus' of tune, did you mean 'gpu'?"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_nearest(door: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(cs.ConfigError, match=re.escape(said)):
        getattr(cs, door)(**arguments)
