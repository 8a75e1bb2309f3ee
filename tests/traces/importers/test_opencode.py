"""opencode sessions (exported, stored, and as written by a run) and pi's, with its tree of entries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Child, Program, Turn, import_trace, read_programs
from support.agent_logs import lines
from support.session_logs import (
    opencode,
    opencode_answer,
    opencode_export,
    opencode_tool,
    opencode_user,
    pi,
    pi_answer,
    pi_entry,
    pi_records,
    stamp,
)

Imported = Callable[..., list[Program]]
SESSION = Program(
    "ses_1",
    (
        # From the start of the last tool (6.0) to the next request (9.5).
        Turn(6700, 0, 90, "read+bash", 3.5),
        Turn(7000, 6790, 80, "human", 26.5),
        Turn(7100, 7080, 50, "client", 1.0),
        # After the summary that the call before wrote, although long enough for everything: what the cache supplied.
        Turn(7400, 500, 10),
    ),
    0.0,
)


def test_opencode(imported: Imported) -> None:
    assert imported("opencode") == [SESSION]


def test_an_export_whose_summary_is_long_is_told(tmp_path: Path) -> None:
    export = opencode_export()
    export["info"]["summary"] = {"diffs": [{"before": "secret " * 20_000}]}
    (tmp_path / "a.json").write_text(json.dumps(export))
    assert import_trace([tmp_path / "a.json"], tmp_path / "o.jsonl").format == "opencode"


def test_opencode_as_it_is_stored(tmp_path: Path) -> None:
    export, storage = opencode_export(), tmp_path / "storage"

    def write(path: str, value: dict[str, Any]) -> None:
        (storage / path).parent.mkdir(parents=True, exist_ok=True)
        (storage / path).write_text(json.dumps(value, indent=2))

    write("session/p/ses_1.json", export["info"])
    for message in export["messages"]:
        write(f"message/ses_1/{message['info']['id']}.json", message["info"])
        for part in message["parts"]:
            write(f"part/{message['info']['id']}/{part['id']}.json", part)
    made = import_trace([storage], tmp_path / "o.jsonl")
    assert (made.format, list(read_programs(tmp_path / "o.jsonl"))) == ("opencode", [SESSION])


def test_opencode_as_a_run_writes_it(imported: Imported) -> None:
    def event(kind: str, at: int, part: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "timestamp": at, "sessionID": "ses_1", "part": part}

    events = []
    for message in opencode_export()["messages"]:
        info = message["info"]
        for part in message["parts"] if info["role"] == "assistant" else []:
            if part["type"] == "step-start":
                events.append(event("step_start", info["time"]["created"], part))
            elif part["type"] == "step-finish":
                events.append(event("step_finish", info["time"]["completed"], part))
            elif part["type"] == "tool":
                events.append(event("tool_use", info["time"]["completed"], part))
    (program,) = imported("opencode", lines(*events))
    assert [(t.input_tokens, t.output_tokens) for t in program.turns] == [
        (t.input_tokens, t.output_tokens) for t in SESSION.turns
    ]
    # It does not say when a person spoke: to the start of the next step.
    assert [t.tool_s for t in program.turns] == [3.5, 26.5, 1.0, 0.0]


def test_opencode_several_steps_in_one_message(imported: Imported) -> None:
    export = opencode_export()
    one, two = export["messages"][1:3]
    one["parts"] += [{**part, "messageID": "m2"} for part in two["parts"]]
    one["info"]["time"]["completed"] = two["info"]["time"]["completed"]
    del export["messages"][2]
    (program,) = imported("opencode", json.dumps(export).encode())
    # The second step was requested when the last tool had ended.
    assert [turn.tool_s for turn in program.turns] == [3.0, 26.5, 1.0, 0.0]


def test_opencode_sub_agents_and_forks(tmp_path: Path) -> None:
    main = opencode_export()
    task = opencode_tool("m2", "task", 6.0, 31.0, sessionId="ses_2")
    main["messages"][1] = opencode_answer("m2", 1.2, 31.1, (700, 90, 0, 0, 6000, 6790), task)
    main["messages"][2] = opencode_answer("m3", 31.5, 35.0, (300, 80, 60, 6700, 0))
    side = {
        "info": {**main["info"], "id": "ses_2", "parentID": "ses_1"},
        "messages": [opencode_user("x1", 6.1), opencode_answer("x2", 6.2, 30.0, (400, 30, 0, 0, 0, 430))],
    }
    # A fork has other ids but the same times.
    copied = [{**m, "info": {**m["info"], "id": f"f-{m['info']['id']}"}} for m in main["messages"][:3]]
    for message in copied:
        name = message["info"]["id"]
        message["parts"] = [{**part, "id": f"f-{part['id']}", "messageID": name} for part in message["parts"]]
    own = [opencode_user("y1", 90.0), opencode_answer("y2", 90.5, 95.0, (500, 5, 0, 7000, 0, 7505))]
    fork = {"info": {**main["info"], "id": "ses_3"}, "messages": copied + own}
    for number, log in ((1, main), (2, side), (3, fork)):
        for message in log["messages"]:
            for item in (message["info"], *message["parts"]):
                item["sessionID"] = f"ses_{number}"
        (tmp_path / f"{number}.json").write_text(json.dumps(log))
    import_trace([tmp_path], tmp_path / "o.jsonl")
    first, second = read_programs(tmp_path / "o.jsonl")
    assert first.children == (Child(Program("ses_1/ses_2", (Turn(400, 0, 30),)), 0, 1),)
    assert (first.program_id, len(first.turns), first.turns[0].tool_s) == ("ses_1", 4, 0.0)
    assert second == Program("ses_3", (Turn(7500, 0, 5),), 89.0)


def test_pi(imported: Imported) -> None:
    assert imported("pi") == [
        Program(
            "pi-1",
            (
                # To the next request, which was sent when the last tool had ended.
                Turn(3020, 0, 90, "read+bash", 4.0),
                Turn(3260, 3110, 60, "human", 39.5),
                Turn(1412, 512, 20),
            ),
            0.0,
        )
    ]


def test_pi_branches_of_its_tree(imported: Imported) -> None:
    head = pi_records()[0]
    content = lines(
        head,
        pi_entry(1.0, "user", None, "u1", content="secret"),
        pi_answer(3.0, 1.0, (1000, 50, 0, 0), parent="u1", name="a1"),
        pi_entry(5.0, "user", "a1", "u2", content="secret"),
        pi_answer(7.0, 5.0, (1100, 50, 0, 0), parent="u2", name="a2"),
        # Back to the first answer.
        pi_entry(9.0, "user", "a1", "u3", content="secret"),
        pi_answer(12.0, 9.0, (1300, 20, 0, 0), parent="u3", name="a3"),
        pi_entry(15.0, "user", "a3", "u4", content="secret"),
        pi_answer(17.0, 15.0, (1400, 20, 0, 0), parent="u4", name="a4"),
    )
    (program,) = imported("pi", content)
    assert [turn.kept_tokens for turn in program.turns] == [0, 1050, 1050, 1320]


def test_pi_a_session_that_goes_on_from_another_one(tmp_path: Path) -> None:
    records = pi_records()
    head = {**records[0], "id": "pi-2", "timestamp": stamp(99.0), "branchedFrom": "/w/1.jsonl"}
    branch = [head, *records[1:6], pi_entry(100.0, "user", content="secret")]
    branch.append(pi_answer(104.0, 100.0, (60, 10, 3200, 0)))
    (tmp_path / "2.jsonl").write_bytes(pi())
    (tmp_path / "1.jsonl").write_bytes(lines(*branch))
    import_trace([tmp_path], tmp_path / "o.jsonl")
    found = {program.program_id: program for program in read_programs(tmp_path / "o.jsonl")}
    assert sum(len(program.turns) for program in found.values()) == 4


@pytest.mark.parametrize("name", ["opencode", "pi"])
def test_an_independent_reader_agrees(imported: Imported, name: str) -> None:
    if name == "pi":
        usages = [json.loads(line).get("message", {}).get("usage") for line in pi().splitlines()]
        totals = [usage["totalTokens"] for usage in usages if usage and usage["totalTokens"]]
    else:
        tokens = [m["info"]["tokens"] for m in json.loads(opencode())["messages"] if m["info"]["role"] == "assistant"]
        totals = [t.get("total", t["input"] + t["output"] + sum(t["cache"].values())) for t in tokens]
    (program,) = imported(name)
    assert [turn.input_tokens + turn.output_tokens for turn in program.turns] == totals
