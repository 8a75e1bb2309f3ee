"""Sub-agents and tools through public entry points: library, command line, results and their pages."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import astuple

import continuum_sim as cs
from continuum_sim.cli import main
from continuum_sim.errors import ConfigError
from continuum_sim.results.summary import ToolCalls
from continuum_sim.traces import Child, Program, Turn, find_trace, read_programs, write_programs

ROOT = Path(__file__).parents[3]


def families(count: int = 4) -> list[Program]:
    """Return programs of the bundled trace, each with the next one as its sub-agent."""
    programs = list(read_programs(find_trace("swebench"), limit=2 * count, max_turns=6))
    children = [replace(program, program_id=f"child/{program.program_id}") for program in programs[count:]]
    return [
        replace(program, children=(Child(child, 1, 3),))
        for program, child in zip(programs[:count], children, strict=True)
    ]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "families.jsonl"
    write_programs(path, families())
    return path


def test_a_run_counts_roots_and_reports_every_sub_agent(trace: Path) -> None:
    result = cs.run(trace, "ttl", arrivals="poisson:rate=0.1")
    summary = result.summary
    assert (summary.programs, summary.children, summary.turns) == (4, 4, 48)
    roots = result.programs[result.programs["parent"].isna()]
    assert len(roots) == 4
    assert summary.jct_s.mean == pytest.approx(roots["jct_s"].mean())
    children = result.programs[result.programs["parent"].notna()].set_index("parent")
    assert set(children.index) == set(roots["program"])
    for row in roots.itertuples():
        assert row.arrival_s < children.loc[row.program, "arrival_s"] < row.finish_s
    split = summary.time_s
    parts_s = (split.queue, split.prefill, split.decode, split.tool, split.tool_wait, split.join)
    assert sum(parts_s) == pytest.approx(summary.jct_s.mean)
    assert split.join > 0
    assert summary.tools is UNSET


def test_both_modes_agree_on_families_and_failures(trace: Path) -> None:
    fast, stepwise = (
        cs.run(trace, "ttl", arrivals="burst", tool_workers=2, tool_failure_rate=0.3, engine=engine)
        for engine in ("fast", "stepwise")
    )
    assert isinstance(fast.summary.tools, ToolCalls)
    assert isinstance(stepwise.summary.tools, ToolCalls)
    assert fast.summary.tools.failures > 0
    assert astuple(fast.summary.tools) == pytest.approx(astuple(stepwise.summary.tools))
    columns = ["jct_s", "tool_s", "tool_wait_s", "join_s"]
    for one, other in zip(fast.programs.itertuples(), stepwise.programs.itertuples(), strict=True):
        assert (one.program, one.parent) == (other.program, other.parent)
        assert [getattr(one, c) for c in columns] == pytest.approx([getattr(other, c) for c in columns], abs=1e-6)


def test_a_comparison_pairs_roots_alone(trace: Path) -> None:
    result = cs.compare(["lru", "ttl"], [0, 1], trace=trace, arrivals="poisson:rate=0.1")
    assert {row.programs for row in result.rows} == {8}
    assert {difference.pairs for difference in result.paired} == {8}
    assert all(row.join_s > 0 for row in result.rows)


def test_a_limit_counts_roots(trace: Path) -> None:
    for source in (trace, families()):
        summary = cs.run(source, "lru", arrivals="burst", limit=2).summary
        assert (summary.programs, summary.children) == (2, 2)


def test_a_sub_agent_that_never_fits_is_refused_by_name() -> None:
    root, *_ = families(1)
    giant = Program("giant", (Turn(100_000, 0, 10),))
    with pytest.raises(ConfigError, match="program 'giant' needs .* KV blocks"):
        cs.run([replace(root, children=(Child(giant, 0),))], "lru", kv_blocks=4000)


def test_the_command_line_shows_waits(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--trace", str(trace), "--arrivals", "burst", "--tool-workers", "1", "--tool-failure-rate", "0.5"]
    with pytest.raises(SystemExit):
        main(["run", "--policy", "lru", *flags])
    out = capsys.readouterr().out
    assert "4 programs, 4 sub-agents, 48 turns" in out
    out = " ".join(out.split())  # however wide the terminal is
    assert re.search(r"tool wait [\d.]+ s \(", out)
    assert re.search(r"join [\d.]+ s \(", out)
    assert re.search(r"tool calls 40 calls; 0 timeouts and \d+ failures: \d+ retries, \d+ given up; \d+ waited", out)
    with pytest.raises(SystemExit):
        main(["compare", "--policies", "lru,ttl", "--seeds", "0", *flags])
    assert re.search(r"tool\s+tool wait\s+join\s+programs/h", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main(["run", "--policy", "lru", "--json", *flags])
    tools = json.loads(capsys.readouterr().out)["tools"]
    assert tools["tries"] == tools["calls"] + tools["failures"] - tools["given_up"]


def test_stats_of_a_trace_tell_of_sub_agents(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trace", "stats", str(trace)])
    assert "4 programs, 4 sub-agents, 48 turns" in capsys.readouterr().out


def test_validate_refuses_sub_agents_before_anything_starts(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["validate", "--trace", str(trace), "--policies", "lru", "--out", str(trace.parent / "out")])
    assert exited.value.code == 2
    error = capsys.readouterr().err
    assert "starts sub-agents, which `validate` does not replay" in error
    assert not (trace.parent / "out").exists()


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, {})
    assert "ToolCalls(calls=" in capsys.readouterr().out
    written = list(read_programs(tmp_path / "families.jsonl"))
    assert (len(written), sum(len(member.turns) for root in written for member in root.family())) == (25, 3680)
