"""Imported logs of coding agents, computed by hand (the samples: `support.agent_logs`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Child, Program, SharedPrefix, TraceError, Turn, import_trace, read_programs
from support.agent_logs import bfcl, claude_code, lines, mini_swe_agent, openhands, swe_agent

Imported = Callable[..., list[Program]]


def test_mini_swe_agent(imported: Imported) -> None:
    (program,) = imported("mini-swe-agent")
    assert program.program_id == "a"
    assert program.turns == (
        Turn(1000, 0, 50, "find", 0.25),
        # Both commands have ended by the second observation.
        Turn(1200, 1050, 80, "pytest+git", 2.5),
        # 1260 is less than 1200 + 80: the output did not come back whole, so the prefix breaks before it.
        Turn(1260, 1200, 30),
    )


def test_mini_swe_agent_1_has_no_times(imported: Imported) -> None:
    (program,) = imported("mini-swe-agent-v1")
    assert [turn.tool_s for turn in program.turns] == [0, 0, 0]
    assert [turn.tool for turn in program.turns] == ["find", "pytest+git", None]


def test_mini_swe_agent_1_with_times_beside_the_content(imported: Imported) -> None:
    record = json.loads(mini_swe_agent("1.17.2", times=False))
    for at, message in enumerate(record["messages"]):
        message["timestamp"] = 1_764_739_576.0 + 2.5 * at
    (program,) = imported("mini-swe-agent-v1", json.dumps(record).encode())
    # The second call is followed by two observations.
    assert [turn.tool_s for turn in program.turns] == [2.5, 5.0, 0]


def test_hidden_reasoning_does_not_come_back(imported: Imported) -> None:
    record = json.loads(mini_swe_agent())
    first = record["messages"][2]
    first["extra"]["response"]["usage"]["completion_tokens_details"] = {"reasoning_tokens": 30}
    (program,) = imported("mini-swe-agent", json.dumps(record).encode())
    # 1200 has room for 1000 + 50, but 30 of those 50 were not sent.
    assert program.turns[1].kept_tokens == 1000
    first["reasoning_content"] = "as it goes back"
    (program,) = imported("mini-swe-agent", json.dumps(record).encode())
    assert program.turns[1].kept_tokens == 1050


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


def test_swe_agent_trajectories_without_prompts(imported: Imported) -> None:
    record = json.loads(swe_agent())
    del record["trajectory"][0]["query"]
    with pytest.raises(TraceError, match=r"trajectory\[0\]\.query is missing, .* since 1\.1\.0"):
        imported("swe-agent", json.dumps(record).encode())


def test_openhands(imported: Imported) -> None:
    (program,) = imported("openhands")
    assert program.program_id == "repo__1"
    first, second, third = program.turns
    assert (first.input_tokens, first.output_tokens, first.tool) == (5920, 128, "execute_bash")
    assert first.tool_s == pytest.approx(0.62)
    # From the first action of the response to the last observation.
    assert (second.tool, second.kept_tokens) == ("think+str_replace_editor", 6048)
    assert second.tool_s == pytest.approx(1.5)
    # Condensed: only what the cache supplied is surely kept.
    assert third == Turn(3000, 2048, 40)


def test_openhands_events_of_its_sdk(imported: Imported) -> None:
    record = json.loads(openhands())
    for event in record["history"][1:]:
        event["id"] = f"e{event['id']}"
        if "action" in event:
            meta = event.pop("tool_call_metadata")
            event |= {"kind": "ActionEvent", "action": {"command": "ls"}, "tool_name": meta["function_name"]}
            event["llm_response_id"] = meta["model_response"]["id"]
        else:
            event |= {"kind": "ObservationEvent", "observation": {}, "action_id": f"e{event.pop('cause')}"}
    assert imported("openhands", json.dumps(record).encode()) == imported("openhands")


def test_claude_code(imported: Imported) -> None:
    (main,) = imported("claude-code")
    assert main.program_id == "s-1"
    assert main.turns == (
        # The larger usage of the same message; from its last record (6.5) to the last result but the sub-agent's (7.0).
        Turn(2000, 0, 90, "Bash+Task", 0.5),
        Turn(2300, 2090, 60, "human", 30.0),
        # Compacted: what the cache supplied.
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


def test_a_sub_agent_named_beside_the_answer(imported: Imported) -> None:
    records = [json.loads(line) for line in claude_code().splitlines()]
    for record in records:
        if record.get("toolUseResult", {}).get("agentId"):
            record["agentId"] = record["toolUseResult"].pop("agentId")
    assert imported("claude-code", lines(*records)) == imported("claude-code")


def claude_branches(*answers: tuple[str, str, int, int]) -> bytes:
    """Return pairs of question and answer, each given as (``uuid``, parent's ``uuid``, prompt, output)."""
    records: list[dict[str, Any]] = []
    for minute, (uuid, parent, prompt, output) in enumerate(answers):
        common = {"sessionId": "s", "isSidechain": False, "timestamp": f"2026-06-01T05:{minute:02d}:00Z"}
        # A question with its own name may be asked twice.
        ask = parent if parent.startswith("ask") else f"ask-{uuid}"
        if ask not in [record["uuid"] for record in records]:
            above = records[0]["uuid"].replace("ask-", "") if ask == parent else parent or None
            message: dict[str, Any] = {"role": "user", "content": "?"}
            records.append({**common, "type": "user", "uuid": ask, "parentUuid": above, "message": message})
        message = {"id": f"m-{uuid}", "role": "assistant", "content": []}
        message["usage"] = {"input_tokens": prompt, "output_tokens": output}
        records.append({**common, "type": "assistant", "uuid": uuid, "parentUuid": ask, "message": message})
    return lines(*records)


def test_going_back_in_a_conversation(imported: Imported) -> None:
    content = claude_branches(
        ("a", "", 1000, 50),
        ("b", "a", 1100, 60),
        ("c", "b", 1200, 70),
        # Back to the first answer: everything up to it, although the prompt is long enough for 1200 + 70.
        ("d", "a", 1500, 80),
        ("e", "d", 1700, 10),
        # And back to the other branch: both still share everything up to the first answer.
        ("f", "c", 1400, 10),
    )
    (program,) = imported("claude-code", content)
    assert [turn.kept_tokens for turn in program.turns] == [0, 1050, 1160, 1050, 1580, 1050]


def test_the_same_question_again(imported: Imported) -> None:
    content = claude_branches(("a", "", 1000, 50), ("b", "ask", 1200, 60), ("c", "ask", 1200, 70))
    (program,) = imported("claude-code", content)
    assert [turn.kept_tokens for turn in program.turns] == [0, 1050, 1200]


def test_sub_agents_of_a_workflow(tmp_path: Path) -> None:
    main = [json.loads(line) for line in claude_branches(("a", "", 1000, 50), ("b", "a", 1100, 60)).splitlines()]
    main[1]["message"]["content"] = [{"type": "tool_use", "id": "t", "name": "Workflow", "input": {}}]
    main[2]["message"]["content"] = [{"type": "tool_result", "tool_use_id": "t", "content": "launched"}]
    main[2]["toolUseResult"] = {"isAsync": True, "status": "async_launched", "runId": "wf_1"}
    side = [json.loads(line) for line in claude_branches(("x", "", 300, 20)).splitlines()]
    folder = tmp_path / "p" / "s" / "subagents" / "workflows" / "wf_1"
    folder.mkdir(parents=True)
    (tmp_path / "p" / "s.jsonl").write_bytes(lines(*main))
    (folder / "agent-a1.jsonl").write_bytes(lines(*({**one, "isSidechain": True, "agentId": "a1"} for one in side)))
    (folder / "journal.jsonl").write_bytes(lines({"type": "started", "key": "k", "agentId": "a1"}))
    import_trace([tmp_path / "p"], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert program.children == (Child(Program("s/a1", (Turn(300, 0, 20),)), 0, None),)


def test_tracelab(imported: Imported) -> None:
    (program,) = imported("tracelab")
    assert program.turns == (
        # In order of time, not of the file: from the call of the tools (10.0) to the last result (14.0).
        Turn(1000, 0, 100, "Bash+WebSearch", 4.0),
        Turn(1300, 1100, 50, "human", 30.0),
        Turn(900, 700, 10),
    )


def test_bfcl_entries_that_failed_are_no_bad_records(imported: Imported) -> None:
    failed = {"id": "multi_turn_base_1", "result": "Error during inference: timeout", "traceback": "…"}
    assert imported("bfcl", bfcl() + lines(failed)) == imported("bfcl")


def test_bfcl(imported: Imported) -> None:
    several, single = imported("bfcl")
    assert several.turns == (
        Turn(500, 0, 20, "cd+ls", 0.0),
        Turn(560, 520, 30, "user", 0.0),
        Turn(700, 590, 12),
    )
    assert single == Program("simple_1", (Turn(90, 0, 9),))
