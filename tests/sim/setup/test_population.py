"""Which programs a run repeats: all of the trace, or a draw of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.runs.api import run
from continuum_sim.traces import find_trace, read_programs
from continuum_sim.traces.write import write_programs
from support.cli import printed, refused

SHORT = ("--limit", 8, "--max-turns", 3, "--programs", 24, "--rate", 0.5)


def served(result: cs.RunResult) -> list[str]:
    """The distinct programs of a run."""
    names: list[str] = result.table("programs").column("program").to_pylist()
    return sorted({name.split("#")[0] for name in names})


def kept(directory: Path) -> str | None:
    """What a manifest says of the population."""
    found: str | None = json.loads((directory / "manifest.json").read_text())["settings"]["population"]
    return found


def test_comparisons_of_a_length_draw_and_runs_take_the_trace(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "compared"
    printed(capsys, "compare", *SHORT, "--policies", "lru,fcfs", "--seeds", "0,1", "--out", out)
    printed(capsys, "run", *SHORT, "--out", tmp_path / "one")
    of_policy = {policy: cs.load_run(out / f"runs/{policy}-seed1") for policy in ("lru", "fcfs")}
    names = [one.program_id for one in read_programs(find_trace("swebench.jsonl"), limit=8)]
    assert served(cs.load_run(tmp_path / "one")) == sorted(names)
    assert served(of_policy["lru"]) == served(of_policy["fcfs"]), "policies meet the same programs"
    assert served(of_policy["lru"]) != served(cs.load_run(out / "runs/lru-seed0")), "seeds do not"
    assert {name.split("~")[0] for name in served(of_policy["lru"])} < {*names}
    assert (kept(out), kept(out / "runs/lru-seed1"), kept(tmp_path / "one")) == ("drawn", "drawn", "trace")
    assert (
        of_policy["lru"].summary.population,
        cs.load_run(tmp_path / "one").summary.to_json().count("population"),
    ) == (
        "drawn",
        0,
    )


def test_a_run_of_a_comparison_can_be_repeated(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    printed(capsys, "compare", *SHORT, "--policies", "lru", "--seeds", "3", "--out", tmp_path / "compared")
    printed(capsys, "run", "--from", tmp_path / "compared/runs/lru-seed3", "--out", tmp_path / "again")
    for table in ("programs", "turns", "timeline"):
        again, then = (tmp_path / place / f"{table}.parquet" for place in ("again", "compared/runs/lru-seed3"))
        assert again.read_bytes() == then.read_bytes()


def test_a_replay_is_no_draw(tmp_path: Path) -> None:
    replayed = cs.compare(["lru"], [0, 1], limit=4, max_turns=2, rate=0.5)
    assert {summary.population for summary in replayed.summaries} == {cs.run(limit=4, max_turns=2).summary.population}
    recorded = [*read_programs(find_trace("swebench.jsonl"), limit=6, max_turns=2)]
    timed = [cs.Program(one.program_id, one.turns, arrival_s=float(at)) for at, one in enumerate(recorded)]
    same = cs.compare(["lru"], [0], trace=timed, programs=5)
    assert same.summaries[0].programs == 5
    assert "population" not in same.summaries[0].to_json()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "population drawn is for a run with a length: give programs or duration"),
        (
            ("--programs", 20, "--arrivals", "trace", "--trace", "TIMED"),
            "say when they arrive with rate or arrivals",
        ),
        (("--population", "some"), "some"),
    ],
)
def test_draws_that_cannot_be_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, more: tuple[object, ...], said: str
) -> None:
    timed = tmp_path / "timed.jsonl"
    recorded = read_programs(find_trace("swebench.jsonl"), limit=6, max_turns=2)
    write_programs(timed, [cs.Program(one.program_id, one.turns, arrival_s=1.0) for one in recorded])
    arguments = [timed if item == "TIMED" else item for item in more]
    assert said in refused(capsys, "run", "--limit", 4, "--population", "drawn", *arguments)


def test_a_burst_is_of_the_programs_drawn() -> None:
    found = run("swebench.jsonl", "lru", limit=12, max_turns=2, programs=24, rate=0.5, burst=12, population="drawn")
    names = found.table("programs").column("program").to_pylist()
    burst = {name.rpartition("+")[0] for name in names if "+" in name}
    assert burst == {name.split("#")[0] for name in names if "+" not in name}
