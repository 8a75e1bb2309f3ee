"""Continuum's own files, read back as in its authors' analysis: they agree with the run's tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.results import RunResult
from continuum_sim.traces import Child, Program, Turn, write_programs

SHORT: dict[str, Any] = {"limit": 12, "max_turns": 8, "arrivals": "poisson:rate=2"}
TIMES = {
    "Request_arrival_time",
    "waiting_to_running",
    "Request_evicted_from_running_queue_time",
    "evicted_to_running",
    "Request_departure_time",
    "pinned_time",
    "unpinned_time",
}

History = dict[str, list[dict[str, float]]]


def history_of(run: Path, out: Path) -> History:
    cs.export_continuum(run, out)
    history: History = json.loads((out / "scheduler_timestamps").read_bytes())
    for events in history.values():
        for event in events:
            assert len(TIMES & event.keys()) == 1
            running = (
                {"prompt_length", "hit_length"}
                if event.keys() & {"waiting_to_running", "evicted_to_running"}
                else set()
            )
            assert event.keys() - TIMES == running
        times = [event[name] for event in events for name in TIMES & event.keys()]
        assert times == sorted(times)
    return history


def rounds(events: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return one round per request, as in the authors' analysis: a request runs once it is first admitted."""
    found: list[dict[str, float]] = []
    for event in events:
        if "Request_arrival_time" in event:
            found.append(dict(event))
        elif "waiting_to_running" in event or "Request_departure_time" in event:
            found[-1] |= event
    return found


def check_against_tables(history: History, run: RunResult) -> None:
    assert list(history) == run.programs.sort_values(["arrival_s", "program"])["program"].tolist()
    for program, turns in run.turns.sort_values("turn").groupby("program"):
        told = rounds(history[str(program)])
        for name, column in (
            ("Request_arrival_time", "arrival_s"),
            ("waiting_to_running", "scheduled_s"),
            ("Request_departure_time", "finish_s"),
            ("prompt_length", "prompt_tokens"),
        ):
            assert [one[name] for one in told] == turns[column].tolist()
        for one, turn in zip(told, turns.to_dict("records"), strict=True):
            # The table counts reloads after a preemption too.
            most = turn["cached_tokens"] + turn["reloaded_tokens"]
            least = turn["cached_tokens"] if turn["preemptions"] else most
            assert least <= one["hit_length"] <= most
    counted = Counter(name for events in history.values() for event in events for name in event)
    assert counted["Request_evicted_from_running_queue_time"] == run.turns["preemptions"].sum()
    # A turn whose last token is on its way when it is preempted ends while it waits.
    never_back = sum(run.decisions.groupby(["program", "turn"])["event"].agg(list).map(_ended_while_it_waited))
    assert counted["evicted_to_running"] == run.turns["preemptions"].sum() - never_back
    assert counted["pinned_time"] == counted["unpinned_time"] == run.summary.pins.made


def _ended_while_it_waited(events: list[str]) -> bool:
    return [event for event in events if event in ("admit", "preempt")][-1:] == ["preempt"]


@pytest.mark.parametrize(
    ("policy", "kv_blocks"),
    [("ttl", 1500), ("ttl", 1000), ("lru", 1000), ("continuum-code", 1500), ("pin-forever", 1500)],
)
def test_it_says_what_the_tables_say(tmp_path: Path, policy: str, kv_blocks: int) -> None:
    run = cs.run(policy=policy, **SHORT, kv_blocks=kv_blocks, out=tmp_path / "r", decisions=True)
    check_against_tables(history_of(tmp_path / "r", tmp_path / "c"), run)


def test_with_a_memory_tier_what_comes_back_is_a_hit(tmp_path: Path) -> None:
    run = cs.run(policy="lru", **SHORT, kv_blocks=2500, dram_gb=8, out=tmp_path / "r", decisions=True)
    assert run.turns["reloaded_tokens"].sum() > 0
    check_against_tables(history_of(tmp_path / "r", tmp_path / "c"), run)


def test_results_are_job_durations_and_their_statistics(tmp_path: Path) -> None:
    run = cs.run(policy="ttl", **SHORT, kv_blocks=1500, out=tmp_path / "r", decisions=True)
    cs.export_continuum(tmp_path / "r", tmp_path / "c")
    results = json.loads((tmp_path / "c" / "results.json").read_bytes())
    jct = run.programs.set_index("program")["jct_s"]
    assert results.pop("job_durations") == pytest.approx(jct.to_dict())
    ordered = sorted(jct)
    assert results == pytest.approx(
        {
            "num_jobs": 12,
            "average_duration": jct.mean(),
            "total_duration": run.programs["finish_s"].max() - run.programs["arrival_s"].min(),
            "min_duration": ordered[0],
            "max_duration": ordered[-1],
            "median_duration": (ordered[5] + ordered[6]) / 2,
            # Rank 11 · 0.95 = 10.45 of the samples, from 0; and 10.89.
            "percentile_95": ordered[10] + 0.45 * (ordered[11] - ordered[10]),
            "percentile_99": ordered[10] + 0.89 * (ordered[11] - ordered[10]),
        }
    )


def test_one_job_worked_out_by_hand(tmp_path: Path) -> None:
    write_programs(tmp_path / "t.jsonl", [Program("a", (Turn(100, 0, 10, "ls", 5.0), Turn(150, 110, 10)))])
    run = cs.run(tmp_path / "t.jsonl", policy="pin-forever", arrivals="burst", out=tmp_path / "r", decisions=True)
    first, second = run.turns.to_dict("records")
    (events,) = history_of(tmp_path / "r", tmp_path / "c").values()
    assert events == [
        {"Request_arrival_time": 0.0},
        {"waiting_to_running": 0.0, "prompt_length": 100, "hit_length": 0},
        {"Request_departure_time": first["finish_s"]},
        {"pinned_time": first["finish_s"]},
        {"Request_arrival_time": first["finish_s"] + 5.0},
        {"unpinned_time": second["scheduled_s"]},
        # 109 tokens have KV (that of the last one was never computed), 6 whole blocks of 16.
        {"waiting_to_running": second["scheduled_s"], "prompt_length": 150, "hit_length": 96},
        {"Request_departure_time": second["finish_s"]},
    ]


def test_a_sub_agent_is_a_job(tmp_path: Path) -> None:
    child = Program("a/sub", (Turn(50, 0, 5),))
    program = Program("a", (Turn(100, 0, 10, "task", 0.0), Turn(150, 110, 10)), children=(Child(child, 0, 1),))
    write_programs(tmp_path / "t.jsonl", [program])
    cs.run(tmp_path / "t.jsonl", policy="lru", arrivals="burst", out=tmp_path / "r")
    assert list(history_of(tmp_path / "r", tmp_path / "c")) == ["a", "a/sub"]
