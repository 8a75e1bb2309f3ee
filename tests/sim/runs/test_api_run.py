"""`cs.run`: what a notebook gets."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import continuum_sim as cs
from continuum_sim.policies import Policy, Retention
from continuum_sim.results.recorder import RunRecorder
from continuum_sim.traces import bundled_traces, write_programs
from support.programs import program, turn
from support.steptimes import affine

TINY = {"step_time": affine(), "kv_blocks": 1500, "limit": 12, "max_turns": 8, "arrivals": "poisson:rate=2"}
"""A few real programs on an engine that is short of memory."""


@pytest.fixture(scope="module")
def result() -> cs.RunResult:
    return cs.run(policy="ttl-static", **TINY)  # type: ignore[arg-type]


def test_the_summary_is_that_of_the_tables(result: cs.RunResult) -> None:
    summary, programs, turns = result.summary, result.programs, result.turns
    assert (summary.programs, summary.turns) == (len(programs), len(turns)) == (12, 96)
    waits = {
        "jct_s": programs["jct_s"],
        "queue_wait_s": turns["scheduled_s"] - turns["arrival_s"],
        "ttft_s": turns["first_token_s"] - turns["arrival_s"],
    }
    for name, values in waits.items():
        quantiles = getattr(summary, name)
        assert quantiles.mean == pytest.approx(values.mean())
        assert quantiles.max == values.max()
        for percent in (50, 90, 95, 99):
            assert getattr(quantiles, f"p{percent}") == pytest.approx(np.percentile(values, percent))
    assert summary.prefill.cached_tokens == turns["cached_tokens"].sum()
    assert summary.prefill.recomputed_tokens == turns["recomputed_tokens"].sum() > 0
    assert summary.preemptions == turns["preemptions"].sum()
    # The last step is planned in vain: the last program's end is not foreseen.
    assert (
        summary.sim_s == result.timeline["end_s"].max() > result.timeline["start_s"].max() == programs["finish_s"].max()
    )
    assert summary.throughput.programs_per_s == pytest.approx(12 / summary.sim_s)
    assert summary.throughput.output_tokens_per_s == pytest.approx(turns["output_tokens"].sum() / summary.sim_s)
    passes = result.timeline["steps"].sum()  # a step that only ends a pin or preempts takes no time
    assert passes <= summary.steps <= passes + summary.pins.expired + summary.pins.broken + summary.preemptions
    assert summary.busy_s == pytest.approx((result.timeline["end_s"] - result.timeline["start_s"]).sum())


def test_a_programs_times_add_up_to_its_jct(result: cs.RunResult) -> None:
    programs = result.programs
    parts = programs[["queue_s", "prefill_s", "decode_s", "preempted_s", "tool_s"]]
    assert (parts >= 0).all(axis=None)
    np.testing.assert_allclose(parts.sum(axis=1), programs["jct_s"], rtol=1e-9)
    np.testing.assert_allclose(programs["finish_s"] - programs["arrival_s"], programs["jct_s"], rtol=1e-9)
    time_s, share = result.summary.time_s, result.summary.time_share
    assert time_s.preempted > 0
    named_s = time_s.queue + time_s.prefill + time_s.decode + time_s.preempted + time_s.tool
    assert named_s == pytest.approx(result.summary.jct_s.mean)
    assert share.queue + share.prefill + share.decode + share.preempted + share.tool == pytest.approx(1)


def test_prompt_tokens_are_either_cached_or_computed(result: cs.RunResult) -> None:
    calm = result.turns[result.turns["preemptions"] == 0]
    computed = calm["computed_tokens"] - (calm["output_tokens"] - 1)
    assert (computed + calm["cached_tokens"] == calm["prompt_tokens"]).all()


def test_pins_end_in_one_of_three_ways(result: cs.RunResult) -> None:
    pins = result.summary.pins
    assert pins.made == pins.hit + pins.expired + pins.broken > 0
    assert result.summary.kv.pinned_block_seconds > 0


@pytest.mark.parametrize("policy", ["fcfs", "lru", "ttl", "pin-forever"])
def test_littles_law(policy: str) -> None:
    """Mean number of turns in the engine (seen by it) = turns per second · mean time in it (seen by turns)."""
    run = cs.run(policy=policy, limit=40, arrivals="poisson:rate=0.05", kv_blocks=9000)
    timeline, turns, sim_s = run.timeline, run.turns, run.summary.sim_s
    in_engine = ((timeline["running"] + timeline["waiting"]) * (timeline["end_s"] - timeline["start_s"])).sum() / sim_s
    rate, stay_s = len(turns) / sim_s, (turns["finish_s"] - turns["arrival_s"]).mean()
    assert in_engine == pytest.approx(rate * stay_s, rel=1e-9)


@pytest.mark.parametrize("policy", ["lru", "ttl"])
def test_stepwise_gives_the_same_records(policy: str) -> None:
    fast = cs.run(policy=policy, **TINY)  # type: ignore[arg-type]
    slow = cs.run(policy=policy, engine="stepwise", **TINY)  # type: ignore[arg-type]
    for table in ("programs", "turns"):
        ours, theirs = getattr(fast, table), getattr(slow, table)
        numbers = ours.select_dtypes("number").columns
        np.testing.assert_allclose(ours[numbers], theirs[numbers], rtol=1e-9, atol=1e-9)
        assert (ours["program"] == theirs["program"]).all()
    assert fast.summary.steps == slow.summary.steps


def test_what_is_written_is_what_is_kept(tmp_path: Path, result: cs.RunResult) -> None:
    written = cs.run(policy="ttl-static", out=tmp_path / "run", decisions=True, **TINY)  # type: ignore[arg-type]
    for table in ("programs", "turns", "timeline"):
        assert getattr(written, table).equals(getattr(result, table))
    loaded = cs.load_run(tmp_path / "run")
    assert loaded.turns.equals(result.turns)
    assert loaded.summary == written.summary
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "decisions.jsonl",
        "manifest.json",
        "programs.parquet",
        "summary.json",
        "timeline.parquet",
        "turns.parquet",
    ]


def test_streaming_and_saving_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("continuum_sim.runs.execute.RunRecorder", partial(RunRecorder, batch_rows=7))
    cs.run(policy="ttl", decisions=True, out=tmp_path / "streamed", **TINY)  # type: ignore[arg-type]
    cs.run(policy="ttl", decisions=True, **TINY).save(tmp_path / "saved")  # type: ignore[arg-type]
    copied = cs.load_run(tmp_path / "saved").save(tmp_path / "copied")
    names = sorted(path.name for path in copied.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "streamed").iterdir())
    for name in names:
        contents = [(tmp_path / place / name).read_bytes() for place in ("streamed", "saved", "copied")]
        if name == "summary.json":
            contents = [without_wall_time(text) for text in contents]
        if name != "manifest.json":
            assert contents[0] == contents[1] == contents[2], name


def without_wall_time(text: bytes) -> bytes:
    lines = text.splitlines()
    assert sum(b'"wall_s"' in line for line in lines) == 1
    return b"\n".join(line for line in lines if b'"wall_s"' not in line)


def test_another_seed_gives_another_run() -> None:
    first, second = (cs.run(policy="lru", seed=seed, **TINY) for seed in (0, 1))  # type: ignore[arg-type]
    assert first.summary.jct_s != second.summary.jct_s


def test_decisions_tell_what_the_summary_counts(result: cs.RunResult) -> None:
    decisions = cs.run(policy="ttl-static", decisions=True, **TINY).decisions  # type: ignore[arg-type]
    events = decisions["event"].value_counts()
    pins = result.summary.pins
    assert (events["pin"], events["expire"]) == (pins.made, pins.expired)
    assert events.get("break", 0) == pins.broken
    assert events["arrive"] == 96
    assert events["admit"] == 96 + result.summary.preemptions
    assert decisions["time_s"].is_monotonic_increasing
    assert set(decisions.loc[decisions["event"] == "pin", "detail"].map(lambda d: d["ttl_s"])) == {2.0}
    with pytest.raises(cs.ConfigError, match="decisions=True"):
        _ = result.decisions


def test_an_endless_pin_is_null_in_the_log(tmp_path: Path) -> None:
    cs.run(policy="pin-forever", decisions=True, out=tmp_path / "run", **TINY)  # type: ignore[arg-type]
    lines = [json.loads(line) for line in (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()]
    assert list(lines[0]) == ["time", "step", "program", "turn", "event", "detail"]
    pins = [line["detail"] for line in lines if line["event"] == "pin"]
    assert pins
    assert all(detail["ttl_s"] is None for detail in pins)
    assert cs.load_run(tmp_path / "run").decisions["event"].tolist() == [line["event"] for line in lines]


def test_the_manifest_says_how_to_make_the_run_again(result: cs.RunResult) -> None:
    manifest = result.manifest
    assert manifest["seed"] == 0
    assert manifest["trace"]["name"] == "swebench.jsonl"
    assert len(manifest["trace"]["sha256"]) == 64
    assert manifest["trace"]["turns"] == 96
    assert manifest["engine_config"]["num_gpu_blocks"] == 1500
    assert manifest["engine_config"]["max_num_batched_tokens"] == 2048  # vLLM's default on an A100
    assert manifest["step_time"] == affine().describe()
    assert "ttl=2.0" in manifest["policy"]["retention"]
    assert manifest["arrivals"] == "poisson:rate=2"
    assert manifest["versions"]["numpy"] == np.__version__


def test_programs_in_memory_are_as_good_as_a_file(tmp_path: Path) -> None:
    programs = [program(name, turn(40, 5, gap=1.0), turn(60, 3), at=float(at)) for at, name in enumerate("abc")]
    path = tmp_path / "mine.jsonl"
    write_programs(path, programs)
    settings: dict[str, Any] = {"policy": "lru", "step_time": affine(), "kv_blocks": 100}
    from_file, from_list = cs.run(path, **settings), cs.run(iter(programs), **settings)
    assert from_list.turns.equals(from_file.turns)
    assert from_list.manifest["trace"]["sha256"] == from_file.manifest["trace"]["sha256"]
    assert from_list.summary.arrivals == "trace"  # every program says when it arrives


def test_a_policy_of_ones_own(result: cs.RunResult) -> None:
    from continuum_sim.policies.rules.ttl_static import TtlStatic

    class Keep(Retention):
        def at_turn_end(self, program: Any, moment: Any) -> Any:
            return TtlStatic(ttl=2.0).at_turn_end(program, moment)

    mine = cs.run(policy=Policy("mine", retention=Keep()), **TINY)  # type: ignore[arg-type]
    assert mine.summary.policy == "mine"
    assert mine.summary.pins.made > 0


def test_a_policy_with_a_memory_starts_afresh_in_every_run() -> None:
    class Counting(Retention):
        def __init__(self) -> None:
            self.seen = []

        def at_turn_end(self, program: Any, moment: Any) -> Any:
            self.seen.append(program.program_id)
            return super().at_turn_end(program, moment)

    counting = Counting()
    cs.run(policy=Policy("counting", retention=counting), **TINY)  # type: ignore[arg-type]
    assert counting.seen == []


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"policy": "ttl-static:ttl=0"}, "made no pin"),
        ({"policy": "program-fifo", "arrivals": "closed:workers=1"}, "never changed the order"),
        ({"policy": "oracle-ttl"}, "looks into the future"),
        ({"policy": "lru", "kv_blocks": 100_000}, "hardly a computed token was lost in this run"),
        ({"policy": "lru", "max_model_len": 200_000}, "VLLM_ALLOW_LONG_MAX_MODEL_LEN"),
        ({"policy": "lru"}, "vLLM would not start"),
    ],
)
def test_notes(settings: dict[str, Any], note: str) -> None:
    assert any(note in text for text in cs.run(**{**TINY, **settings}).summary.notes)  # type: ignore[arg-type]


def test_no_notes_without_reason() -> None:
    settings = {**TINY, "arrivals": "poisson:rate=0.02", "max_model_len": 20_000, "kv_blocks": 1300}
    run = cs.run(policy="ttl", **settings)  # type: ignore[arg-type]
    assert run.summary.prefill.recomputed_tokens > 0
    assert [note for note in run.summary.notes if "order" not in note] == []


def test_nothing_is_written_when_a_run_fails(tmp_path: Path) -> None:
    class Broken(Retention):
        def at_turn_end(self, program: Any, moment: Any) -> Any:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        cs.run(policy=Policy("broken", retention=Broken()), out=tmp_path / "run", **TINY)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_programs_that_cannot_fit_are_refused_before_anything_runs() -> None:
    told: list[Any] = []
    programs = [program("small", turn(40, 5)), program("large", turn(4000, 5)), program("larger", turn(9000, 5))]
    with pytest.raises(cs.ConfigError, match=r"program 'large' needs 251 KV blocks .* \(2 of 3 programs do not fit\)"):
        cs.run(programs, "lru", kv_blocks=100, step_time=affine(), progress=told.append)
    assert told == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, continuum_sim; print([m for m in ('numpy', 'pandas', 'scipy', 'simpy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    assert "run" in dir(cs)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = cs.nonsense  # type: ignore[attr-defined]


def test_a_run_does_not_wait_for_what_it_does_not_use() -> None:
    code = (
        "import sys, continuum_sim as cs; cs.run(trace='swebench.jsonl', limit=1)\n"
        "print([m for m in ('scipy', 'matplotlib', 'joblib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_bundled_trace_runs_whole() -> None:
    run = cs.run(policy="ttl", timeline=False)
    assert (run.summary.programs, run.summary.turns) == (100, 3680)
    assert "swebench.jsonl" in bundled_traces()
    with pytest.raises(cs.ConfigError, match="no table 'timeline'"):
        _ = run.timeline
