"""Every benchmark runs, once and small, and what it prints adds up. No figure is a condition: machines differ."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from continuum_sim.traces import check_program, find_trace, read_programs

FOLDER = Path(__file__).parent.parent / "benchmarks"
NAMES = ["turns_per_second", "vllm_scheduler", "dynosim", "scale", "groups", "hot_spots"]


@pytest.fixture(scope="module")
def script() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script, which finds the others beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module


Script = Callable[[str], ModuleType]


def figures(script: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(FOLDER / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1].removeprefix("json: "))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(  # scale draws its picture every day
    "name", [pytest.param(name, marks=pytest.mark.repeats if name == "scale" else ()) for name in NAMES]
)
def test_runs_once_and_small(name: str, script: Script) -> None:
    assert set(script("all").BENCHMARKS) == set(NAMES)
    benchmark = script("all").BENCHMARKS[name]
    found = figures(benchmark.script, *benchmark.small)
    assert found["benchmark"] == name
    assert {"machine", "python", "continuum-sim"} <= set(found["environment"])
    if "missing" in found:
        pytest.skip(f"{found['missing']} is not installed")
    assert found["rows"]


@pytest.mark.slow
def test_scale_draws_its_picture(tmp_path: Path) -> None:
    picture = tmp_path / "img" / "scale.png"
    sizes = ("--outputs", "1,2", "--prompts", "1", "--turns", "100", "--policies", "lru", "--repeats", "1")
    found = figures("scale.py", *sizes, "--picture", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    by_point = {(row[0], row[1]): dict(zip(found["columns"], row, strict=True)) for row in found["rows"]}
    assert by_point["turns", 100]["turns"] >= 100
    assert by_point["outputs", 2]["steps/turn"] > by_point["outputs", 1]["steps/turn"]
    assert all(0 < row["peak GiB"] < 4 for row in by_point.values())


@pytest.mark.slow
def test_the_modes_simulate_the_same(script: Script) -> None:
    harness = script("harness")
    programs = harness.swebench(3)
    fast, stepwise = (harness.simulate(programs, stepwise=stepwise) for stepwise in (False, True))
    assert len(fast.records.turns) == sum(len(p.turns) for p in programs)
    assert fast.totals.steps == stepwise.totals.steps
    assert fast.records.mean_jct_s == pytest.approx(stepwise.records.mean_jct_s, rel=1e-9)


def test_a_page_keeps_everything_but_the_block(tmp_path: Path, script: Script) -> None:
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- scale -->\nold\n<!-- end of scale -->\nafter\n", "utf-8")
    script("all").write_block(page, "scale", "new \\1 table")
    assert page.read_text("utf-8") == "before\n<!-- scale -->\nnew \\1 table\n<!-- end of scale -->\nafter\n"
    with pytest.raises(SystemExit, match="has no <!-- dynosim -->"):
        script("all").write_block(page, "dynosim", "x")
    assert list(tmp_path.iterdir()) == [page]


def test_the_page_has_a_place_for_every_benchmark(script: Script) -> None:
    text = (FOLDER.parent / "docs" / "speed.md").read_text("utf-8")
    for name in [name for name, b in script("all").BENCHMARKS.items() if b.on_page]:
        assert text.count(f"<!-- {name} -->") == text.count(f"<!-- end of {name} -->") == 1


@pytest.mark.parametrize(("outputs", "prompts"), [(1, 1), (8, 1), (1, 4)])
def test_scaled(script: Script, outputs: int, prompts: int) -> None:
    for program in read_programs(find_trace("swebench"), limit=20):
        made = script("workloads").scaled(program, outputs=outputs, prompts=prompts)
        check_program(made)
        assert [t.output_tokens for t in made.turns] == [outputs * t.output_tokens for t in program.turns]
        if outputs == prompts == 1:
            assert made == program


def test_cycled(script: Script) -> None:
    programs = list(read_programs(find_trace("swebench"), limit=3))
    turns = sum(len(p.turns) for p in programs)
    made = list(script("workloads").cycled(programs, 3 * turns, np.random.default_rng(0)))
    assert len({p.program_id for p in made}) == 9
    assert [t.input_tokens for p in made for t in p.turns] == [t.input_tokens for p in programs for t in p.turns] * 3
    for program, again in zip(programs * 3, made, strict=True):
        check_program(again)
        for turn, other in zip(program.turns, again.turns, strict=True):
            assert 0.5 * turn.tool_s <= other.tool_s <= 1.5 * turn.tool_s


def test_mooncake_says_what_the_trace_says(script: Script, tmp_path: Path) -> None:
    cut, rng = script("workloads").without_generated, np.random.default_rng(0)
    programs = [script("workloads").untied(cut(p), rng) for p in read_programs(find_trace("swebench"), limit=4)]
    script("mooncake").write_mooncake(tmp_path / "trace.jsonl", programs, 16)
    header, *rows = map(json.loads, (tmp_path / "trace.jsonl").read_text("utf-8").splitlines())
    assert (header["schema"], header["block_size"]) == ("dynamo.agentic_mooncake", 16)
    by_id = {row["request_id"]: row for row in rows}
    assert len(by_id) == len(rows) == sum(len(p.turns) for p in programs)
    seen: set[int] = set()
    for program in programs:
        before: list[int] = []
        for index, turn in enumerate(program.turns):
            row = by_id[f"{program.program_id}/{index}"]
            blocks = row["hash_ids"]
            assert (row["input_length"], row["output_length"]) == (turn.input_tokens, turn.output_tokens)
            assert len(blocks) == -(-turn.input_tokens // 16)
            kept = turn.kept_tokens // 16
            assert blocks[:kept] == before[:kept]
            assert len(before[:kept]) == kept  # nothing generated is kept
            assert seen.isdisjoint(blocks[kept:])
            seen.update(blocks)
            if index:
                (edge,) = row["dependencies"]
                assert edge["request_id"] == f"{program.program_id}/{index - 1}"
                assert edge["delay_ms"] == pytest.approx(1e3 * program.turns[index - 1].tool_s)
            before = blocks


@pytest.mark.slow
def test_one_turn_counts_the_files_it_crosses(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script("one_turn").main(policy="ttl", dram_gb=16.0)
    *rows, _, last = capsys.readouterr().out.splitlines()
    crossed = {file: int(calls) for file, calls in (re.findall(r"[^| ]+", row)[::2] for row in rows[2:])}
    assert last == f"{len(crossed)} files, {sum(crossed.values())} calls"
    assert {"sim/engine/scheduler.py", "policies/rules/ttl.py", "sim/engine/offload/tiers.py"} <= set(crossed)


@pytest.mark.slow
def test_accuracy_judges_recordings_and_kernel_tables(tmp_path: Path) -> None:
    recorded = FOLDER.parents[1] / "shared/gpu-runs"
    if not recorded.exists():
        pytest.skip("the recording is not in this checkout")
    rows = figures("accuracy.py", str(recorded))["rows"]
    judged = {(row[0], row[1]): row[2:] for row in rows}
    run, steps = "rtx4090-llama-3.1-8b", "RTX-4090, Llama-3.1-8B, 1 GPU"
    assert abs(judged["profiled", run][0]) < 0.015
    assert abs(judged["roofline", run][0]) < 0.03
    medians = {model: [cell[0] for cell in judged[model, steps]] for model in ("roofline", "roofline without tiles")}
    assert max(medians["roofline"]) < max(medians["roofline without tiles"])
    worst = [max(abs(cell) for cell in row[2:] if cell is not None) for row in rows if row[1] == run]
    assert worst == sorted(worst, reverse=True)


def test_accuracy_of_an_empty_folder(tmp_path: Path) -> None:
    assert figures("accuracy.py", str(tmp_path))["rows"] == []
