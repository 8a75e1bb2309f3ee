"""What becomes of the logs of coding agents, worked out by hand (the samples: `support.agent_logs`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from continuum_sim.traces import Child, Program, SharedPrefix, Turn, import_trace, read_programs
from support.agent_logs import claude_code, mini_swe_agent

Imported = Callable[..., list[Program]]


def test_mini_swe_agent(imported: Imported) -> None:
    (program,) = imported("mini-swe-agent")
    assert program.program_id == "a"
    assert program.turns == (
        Turn(1000, 0, 50, "find", 0.25),
        # Both commands have ended when the second observation is there.
        Turn(1200, 1050, 80, "pytest+git", 2.5),
        # 1260 is less than 1200 + 80: what was generated did not come back whole, so the prefix breaks before it.
        Turn(1260, 1200, 30),
    )


def test_mini_swe_agent_1_has_no_times(imported: Imported) -> None:
    (program,) = imported("mini-swe-agent-v1")
    assert [turn.tool_s for turn in program.turns] == [0, 0, 0]
    assert [turn.tool for turn in program.turns] == ["find", "pytest+git", None]


def test_a_call_without_a_command_is_a_retry(imported: Imported) -> None:
    record = json.loads(mini_swe_agent())
    record["messages"][2]["extra"]["actions"] = []
    (program,) = imported("mini-swe-agent", json.dumps(record).encode())
    assert program.turns[0].tool == "retry"
    record["messages"][3] = {"role": "user", "content": "?", "extra": {"interrupt_type": "FormatError"}}
    (program,) = imported("mini-swe-agent", json.dumps(record).encode())
    assert (program.turns[0].tool, program.turns[0].tool_s) == ("FormatError", 0.0)


def test_swe_agent(imported: Imported) -> None:
    (program,) = imported("swe-agent")
    # system (1 + 5 words) + user (1 + 3); then the response (3), and user + 4 words.
    assert program.turns == (Turn(10, 0, 3, "ls", 0.75), Turn(18, 13, 1))
    assert program.shared_prefix is not None
    assert program.shared_prefix.tokens == 6


def test_openhands(imported: Imported) -> None:
    (program,) = imported("openhands")
    assert program.program_id == "repo__1"
    first, second, third = program.turns
    assert (first.input_tokens, first.output_tokens, first.tool) == (5920, 128, "execute_bash")
    assert first.tool_s == pytest.approx(0.62)
    # From the first action of the response to the last observation.
    assert (second.tool, second.kept_tokens) == ("think+str_replace_editor", 6048)
    assert second.tool_s == pytest.approx(1.5)
    # Condensed: only what the cache gave is sure to be kept.
    assert third == Turn(3000, 2048, 40)


def test_claude_code(imported: Imported) -> None:
    (main,) = imported("claude-code")
    assert main.program_id == "s-1"
    assert main.turns == (
        # The larger usage of the same message; from its last record (6.5) to the last result but the sub-agent's (7.0).
        Turn(2000, 0, 90, "Bash+Task", 0.5),
        Turn(2300, 2090, 60, "human", 30.0),
        # Compacted: what the cache gave.
        Turn(2200, 1500, 10),
    )
    assert main.shared_prefix == SharedPrefix("claude-code-2.1.157-claude-opus-4-8-1500", 1500)
    side = Program("s-1/a7", (Turn(500, 0, 20, "Grep", 0.5), Turn(610, 520, 30)))
    assert main.children == (Child(side, 0, 1),)


def test_claude_code_sub_agents_in_files_of_their_own(tmp_path: Path, imported: Imported) -> None:
    (one_file,) = imported("claude-code")
    lines = claude_code().splitlines(keepends=True)
    below = tmp_path / "s" / "s-1" / "subagents"
    below.mkdir(parents=True)
    (below / "agent-a7.jsonl").write_bytes(b"".join(line for line in lines if b'"isSidechain": true' in line))
    (tmp_path / "s" / "s-1.jsonl").write_bytes(b"".join(line for line in lines if b'"isSidechain": true' not in line))
    import_trace([tmp_path / "s"], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert program == one_file


def test_a_sub_agent_that_runs_on(imported: Imported) -> None:
    (main,) = imported("claude-code", claude_code().replace(b'"status": "completed"', b'"status": "async_launched"'))
    assert main.children[0].join_turn is None
    assert main.turns[0].tool_s == 2.5


def test_a_sub_agent_that_nothing_ties_to_its_parent(imported: Imported) -> None:
    main, side = imported("claude-code", claude_code().replace(b'"toolUseResult"', b'"other"'))
    assert (main.program_id, main.children) == ("s-1", ())
    assert side.program_id == "s-1/a7"


def test_tracelab(imported: Imported) -> None:
    (program,) = imported("tracelab")
    assert program.turns == (
        # In order of time, not of the file: from the call of the tools (10.0) to the last result (14.0).
        Turn(1000, 0, 100, "Bash+WebSearch", 4.0),
        Turn(1300, 1100, 50, "human", 30.0),
        Turn(900, 700, 10),
    )


def test_bfcl(imported: Imported) -> None:
    several, single = imported("bfcl")
    assert several.turns == (
        Turn(500, 0, 20, "cd+ls", 0.0),
        Turn(560, 520, 30, "user", 0.0),
        Turn(700, 590, 12),
    )
    assert single == Program("simple_1", (Turn(90, 0, 9),))
