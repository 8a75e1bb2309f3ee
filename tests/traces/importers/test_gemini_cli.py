"""Sessions of Gemini CLI and Qwen Code: rewritten messages, going back, sub-agents, branches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Child, Program, TraceError, Turn, import_trace, read_programs
from continuum_sim.traces.importers import detect
from continuum_sim.traces.importers.head import head_of
from support.agent_logs import lines
from support.session_logs import (
    gemini_cli,
    gemini_head,
    gemini_message,
    gemini_user,
    qwen_code,
    qwen_record,
    qwen_usage,
    stamp,
)

Imported = Callable[..., list[Program]]


def test_gemini_cli(imported: Imported) -> None:
    (program,) = imported("gemini-cli")
    assert program == Program(
        "g-1",
        (
            Turn(8000, 0, 100, "read_file+run_shell_command", 4.0),
            # Thoughts are not sent back, so the prefix ends where they began.
            Turn(8300, 8000, 70, "human", 48.0),
            Turn(8500, 8370, 30),
        ),
        0.0,
    )


def test_one_document_as_older_versions_wrote_it(imported: Imported) -> None:
    records = [json.loads(line) for line in gemini_cli().splitlines()]
    messages = [record for record in records[3:] if "id" in record]
    whole = {**gemini_head(), "messages": [records[1], *messages]}
    assert imported("gemini-cli", json.dumps(whole, indent=2).encode()) == imported("gemini-cli")


def test_going_back(imported: Imported) -> None:
    content = lines(
        gemini_head(),
        gemini_user("u1", 0.0),
        gemini_message("a1", 3.0, (1000, 50, 0, 0)),
        gemini_user("u2", 9.0),
        gemini_message("a2", 12.0, (1100, 50, 0, 0)),
        {"$rewindTo": "u2"},
        gemini_user("u3", 20.0),
        gemini_message("a3", 24.0, (1300, 20, 0, 0)),
    )
    (program,) = imported("gemini-cli", content)
    # Both branches were served; the second keeps everything up to the first answer.
    assert [turn.kept_tokens for turn in program.turns] == [0, 1050, 1050]


def test_messages_replaced_by_a_summary_stay_served(imported: Imported) -> None:
    records = [json.loads(line) for line in gemini_cli().splitlines()]
    summary = {"id": "s1", "timestamp": stamp(50.0), "type": "user", "content": "secret"}
    records.insert(-2, {"$set": {"messages": [summary, records[5]]}})
    (program,) = imported("gemini-cli", lines(*records))
    assert [turn.input_tokens for turn in program.turns] == [8000, 8300, 8500]


def test_a_sub_agent_in_the_folder_of_its_parent(tmp_path: Path) -> None:
    first = gemini_message("a1", 5.0, (8000, 60, 0, 0), ("read_file", 6.0), ("investigate", 30.0))
    first["toolCalls"][1]["agentId"] = "sub-1"
    chats = tmp_path / "chats"
    (chats / "g-1").mkdir(parents=True)
    last = gemini_message("a2", 35.0, (8600, 70, 0, 0))
    (chats / "session-1.jsonl").write_bytes(lines(gemini_head(), gemini_user("u1", 2.0), first, last))
    side = [gemini_user("x1", 5.5), gemini_message("x2", 9.0, (500, 20, 0, 0), ("grep", 10.0))]
    side.append(gemini_message("x3", 29.0, (600, 30, 0, 0)))
    (chats / "g-1" / "sub-1.jsonl").write_bytes(lines(gemini_head("sub-1", kind="subagent"), *side))
    import_trace([tmp_path], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    child = Program("g-1/sub-1", (Turn(500, 0, 20, "grep", 1.0), Turn(600, 520, 30)))
    assert program.children == (Child(child, 0, 1),)
    # The time of the other tool.
    assert program.turns[0] == Turn(8000, 0, 60, "read_file+investigate", 1.0)


def test_qwen_code(imported: Imported) -> None:
    content = lines(*qwen_code())
    assert detect(head_of(content))[0].name == "gemini-cli"
    (program,) = imported("gemini-cli", content)
    child = Program("q-1/explore-1", (Turn(700, 0, 20, "grep", 1.0), Turn(800, 720, 30)))
    assert program == Program(
        "q-1",
        (
            # The total shows that the output includes the thoughts here, ...
            Turn(6000, 0, 90, "read_file+agent", 1.0),
            Turn(6400, 6000, 40, "human", 11.0),
            # ... and here it does not. Compressed: what the cache supplied.
            Turn(6500, 1024, 35),
        ),
        0.0,
        None,
        (Child(child, 0, 1),),
    )


def test_a_branch_repeats_what_was_served(tmp_path: Path) -> None:
    main = [record for record in qwen_code() if "isSidechain" not in record]
    fork: dict[str, Any] = {"sessionId": "q-2", "forkedFrom": {"sessionId": "q-1", "messageUuid": "x"}}
    branch = [{**record, **fork} for record in main[:5]]
    branch += [qwen_record("9", 90.0, "user"), qwen_record("10", 95.0, "assistant", **qwen_usage(7000, 5))]
    for record in branch[5:]:
        record["sessionId"] = "q-2"
    # The branch is read first.
    (tmp_path / "1.jsonl").write_bytes(lines(*branch))
    (tmp_path / "2.jsonl").write_bytes(lines(*main))
    import_trace([tmp_path], tmp_path / "o.jsonl")
    found = {program.program_id: program for program in read_programs(tmp_path / "o.jsonl")}
    assert {name: (len(one.turns), one.arrival_s) for name, one in found.items()} == {"q-1": (3, 0.0), "q-2": (1, 90.0)}


def test_a_session_without_counts_is_refused_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "session-1.jsonl").write_bytes(lines(gemini_head(), gemini_user("u1", 0.0)))
    with pytest.raises(TraceError, match=r"session-1\.jsonl: no response with token counts in it"):
        import_trace([tmp_path / "session-1.jsonl"], tmp_path / "o.jsonl")


def test_the_case(tmp_path: Path, case: Callable[[str], Path]) -> None:
    import_trace([case("21-gemini-cli-session.jsonl")], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert program == Program(
        "g1", (Turn(11800, 0, 110, "run_shell_command", pytest.approx(4.0)), Turn(12060, 11800, 40)), 0.0
    )


def test_an_independent_reader_agrees(imported: Imported) -> None:
    tokens = {
        record["id"]: record["tokens"]
        for record in map(json.loads, gemini_cli().splitlines())
        if record.get("type") == "gemini"
    }
    (program,) = imported("gemini-cli")
    assert len(program.turns) == len(tokens)
    assert sum(turn.input_tokens + turn.output_tokens for turn in program.turns) == sum(
        counts["total"] for counts in tokens.values()
    )
