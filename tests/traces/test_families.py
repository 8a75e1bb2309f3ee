"""Sub-agents and parallel tools: what a line may say of them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import (
    Child,
    Program,
    ToolCall,
    TraceError,
    Turn,
    check_program,
    read_programs,
    tool_label,
    trace_stats,
    truncate,
    write_programs,
)
from continuum_sim.traces.check import MAX_DEPTH

WriteLines = Callable[..., Path]
Chat = Callable[..., Program]


@pytest.fixture
def family(record: dict[str, Any]) -> dict[str, Any]:
    """Return a valid line: a program of two turns with a sub-agent that has one itself."""
    grandchild = {"after_turn": 0, "program": {"program_id": "c/d", "turns": record["turns"]}}
    child = {"program_id": "c", "turns": record["turns"], "children": [grandchild]}
    return {**record, "children": [{"after_turn": 0, "join_turn": 1, "program": child}]}


def set_at(record: dict[str, Any], where: tuple[Any, ...], value: object) -> None:
    for key in where[:-1]:
        record = record[key]
    record[where[-1]] = value  # type: ignore[index]


def test_a_family_is_one_line(family: dict[str, Any], record: dict[str, Any], write_lines: WriteLines) -> None:
    root, other = read_programs(write_lines(family, {**record, "program_id": "z"}))
    assert [member.program_id for member in root.family()] == ["a", "c", "c/d"]
    (child,) = root.children
    assert (child.after_turn, child.join_turn) == (0, 1)
    assert child.program.children[0].join_turn is None
    assert other.children == ()


def test_a_limit_keeps_families_whole(family: dict[str, Any], write_lines: WriteLines) -> None:
    (root,) = read_programs(write_lines(family, b"rubbish"), limit=1)
    assert len(list(root.family())) == 3


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("children",), {}, "children is an object, expected an array of sub-agents"),
        (("children", 0), 7, "children[0] is 7, expected an object with program, after_turn, join_turn"),
        (("children", 0, "after_turn"), 2, "children[0].after_turn is 2, expected an integer from 0 to 1 (its"),
        (("children", 0, "after_turn"), True, "children[0].after_turn is true, expected an integer from 0 to 1 (its"),
        (
            ("children", 0, "join_turn"),
            0,
            "children[0].join_turn is 0, expected a turn after the one that starts it, from 1 to 1, or null",
        ),
        (("children", 0, "join_turn"), 2, "children[0].join_turn is 2, expected a turn after the one that starts it"),
        (("children", 0, "joinn"), 1, 'children[0].joinn is an unknown field, did you mean "join_turn"?'),
        (("children", 0, "program"), None, "children[0].program is null, expected an object with program_id,"),
        (
            ("children", 0, "program", "arrival_s"),
            3.0,
            "children[0].program.arrival_s is 3.0, expected none: a sub-agent starts when its parent's turn ends",
        ),
        (
            ("children", 0, "program", "children", 0, "program", "turns"),
            [],
            "children[0].program.children[0].program.turns is empty, expected at least one turn",
        ),
        (
            ("children", 0, "program", "children", 0, "program", "turnz"),
            [],
            'children[0].program.children[0].program.turnz is an unknown field, did you mean "turns"?',
        ),
        (
            ("children", 0, "program", "children", 0, "program", "program_id"),
            "a",
            'program_id "a" appears twice among it and its sub-agents, expected unique ids',
        ),
    ],
)
def test_a_family_that_cannot_be_is_refused(
    family: dict[str, Any], write_lines: WriteLines, where: tuple[Any, ...], value: object, message: str
) -> None:
    family = json.loads(json.dumps(family))  # the record is in it three times
    set_at(family, where, value)
    path = write_lines(family)
    with pytest.raises(TraceError) as caught:
        list(read_programs(path))
    assert str(caught.value).startswith(f"{path}:1: {message}")


def test_a_child_without_its_start_or_its_program_is_refused(family: dict[str, Any], write_lines: WriteLines) -> None:
    for field, message in (
        ("after_turn", r"children\[0\]\.after_turn is missing, expected an integer"),
        ("program", r"children\[0\]\.program is missing, expected an object with program_id"),
    ):
        spoilt = {**family, "children": [{k: v for k, v in family["children"][0].items() if k != field}]}
        with pytest.raises(TraceError, match=message):
            list(read_programs(write_lines(spoilt)))


def test_ids_are_unique_over_all_families(
    family: dict[str, Any], record: dict[str, Any], write_lines: WriteLines
) -> None:
    with pytest.raises(TraceError, match=r't\.jsonl:2: program_id "c/d" is also on line 1, expected a new one'):
        list(read_programs(write_lines(family, {**record, "program_id": "c/d"})))


def test_nobody_waits_for_what_the_last_turn_starts(chat: Chat) -> None:
    root = replace(chat("a", 2), children=(Child(chat("b"), 1),))
    check_program(root)
    with pytest.raises(TraceError, match=r"children\[0\]\.join_turn is 2, expected null \(no turn of its parent"):
        check_program(replace(root, children=(Child(chat("b"), 1, 2),)))


def test_nesting_has_a_limit(chat: Chat, tmp_path: Path) -> None:
    nested = chat("n0")
    for depth in range(1, MAX_DEPTH + 1):
        nested = replace(chat(f"n{depth}"), children=(Child(nested, 0),))
    write_programs(tmp_path / "t.jsonl", [nested])
    assert list(read_programs(tmp_path / "t.jsonl")) == [nested]
    line = (tmp_path / "t.jsonl").read_bytes().strip().decode()
    (tmp_path / "deeper.jsonl").write_text(
        json.dumps({"program_id": "top", "turns": json.loads(line)["turns"]})[:-1]
        + ', "children": [{"after_turn": 0, "program": '
        + line
        + "}]}"
    )
    for too_deep in (
        lambda: check_program(replace(chat("top"), children=(Child(nested, 0),))),
        lambda: list(read_programs(tmp_path / "deeper.jsonl")),
    ):
        with pytest.raises(TraceError, match="children is nested too deeply, expected at most 16 levels"):
            too_deep()


def test_cutting_turns_drops_what_they_would_have_started(chat: Chat) -> None:
    children = (Child(chat("early", 5), 0, 3), Child(chat("cut", 1), 1, 2), Child(chat("late", 1), 3))
    root = replace(chat("a", 4), children=children)
    cut = truncate(root, 2)
    assert cut.children == (Child(truncate(chat("early", 5), 2), 0, None),)
    assert truncate(root, 4).children == (Child(truncate(chat("early", 5), 4), 0, 3), *children[1:])
    assert truncate(root, 5) == root


def test_several_tools_at_once(record: dict[str, Any], write_lines: WriteLines) -> None:
    del record["turns"][0]["tool"], record["turns"][0]["tool_s"]
    record["turns"][0]["tools"] = [
        {"tool": "ls", "tool_s": 1},
        {"tool": "cat", "tool_s": 2.5},
        {"tool": "ls", "tool_s": 2},
    ]
    (program,) = read_programs(write_lines(record))
    calls = (ToolCall("ls", 1.0), ToolCall("cat", 2.5), ToolCall("ls", 2.0))
    assert program.turns[0] == Turn(100, 0, 10, "ls+cat", 2.5, calls)
    assert program.turns[0].calls == calls
    assert program.turns[1].calls == ()
    assert Turn(1, 0, 1, "ls", 0.5).calls == (ToolCall("ls", 0.5),)
    assert tool_label(calls) == "ls+cat"


@pytest.mark.parametrize(
    ("turn", "change", "message"),
    [
        (0, {"tools": []}, "turns[0].tools is empty, expected an array of tool calls made at once"),
        (0, {"tools": [3]}, "turns[0].tools[0] is 3, expected an object with tool, tool_s"),
        (0, {"tools": [{"tool": "ls"}]}, "turns[0].tools[0].tool_s is missing, expected a finite number"),
        (0, {"tools": [{"tool": 3, "tool_s": 1}]}, "turns[0].tools[0].tool is 3, expected a non-empty string"),
        (0, {"tools": [{"tool": "ls", "tool_s": 1}]}, "turns[0].tool_s is 0.5, expected 1, the longest of its tools"),
        (1, {"tools": [{"tool": "ls", "tool_s": 0}]}, "turns[1].tools is an array, expected none (no tool follows"),
    ],
)
def test_tools_that_cannot_be_are_refused(
    record: dict[str, Any], write_lines: WriteLines, turn: int, change: dict[str, Any], message: str
) -> None:
    record["turns"][turn] |= change
    if turn:
        record["turns"][turn] |= {"tool": None, "tool_s": 0.0}
    path = write_lines(record)
    with pytest.raises(TraceError) as caught:
        list(read_programs(path))
    assert str(caught.value).startswith(f"{path}:1: {message}")


def test_stats_count_sub_agents_and_every_call() -> None:
    calls = (ToolCall("ls", 1.0), ToolCall("cat", 3.0))
    child = Program("b", (Turn(50, 0, 5, "ls", 2.0), Turn(60, 55, 5)))
    root = Program("a", (Turn(100, 0, 10, "ls+cat", 3.0, calls), Turn(200, 110, 20)), None, None, (Child(child, 0, 1),))
    stats = trace_stats([root])
    assert (stats.programs, stats.children, stats.turns, stats.parallel_gaps) == (1, 1, 4, 1)
    assert {tool.tool: (tool.calls, tool.total_s) for tool in stats.tools} == {"ls": (2, 3.0), "cat": (1, 3.0)}
    assert stats.turns_per_program.mean == 2.0
