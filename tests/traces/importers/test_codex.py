"""Codex rollouts: what counts as a response, forks, sub-agents, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from continuum_sim.traces import Program, TraceError, Turn, import_trace, read_programs
from support.agent_logs import lines
from support.session_logs import Rollout, codex, codex_session

Imported = Callable[..., list[Program]]


def test_codex(imported: Imported) -> None:
    (program,) = imported("codex")
    assert (program.program_id, program.arrival_s) == ("th-1", 0.0)
    first, second, third, fourth = program.turns
    # From the last call (6.0) to the last output (10.0).
    assert first == Turn(9000, 0, 400, "exec_command+apply_patch", 4.0)
    assert (second.kept_tokens, second.tool, second.tool_s) == (9400, "human", pytest.approx(30.0))
    # The call that wrote the summary saw the whole conversation; the next one keeps what the cache supplied.
    assert (third.input_tokens, third.kept_tokens) == (10000, 9920)
    assert fourth == Turn(4000, 2048, 30)


def test_a_tool_that_ends_before_its_response_is_counted(imported: Imported) -> None:
    log = Rollout("a", 0.0).user(0.0).call(2.0, "shell").output(5.0, "shell").counted(5.1, 1000, 40)
    (program,) = imported("codex", log.said(8.0).counted(8.1, 1100, 10).bytes())
    assert program.turns == (Turn(1000, 0, 40, "shell", 3.0), Turn(1100, 1040, 10))


def test_items_without_a_wrapper_and_without_counts_are_refused(imported: Imported) -> None:
    old = lines(
        {"id": "a", "timestamp": "2025-05-01T10:00:00Z", "instructions": "secret"},
        {"type": "message", "role": "user", "content": []},
        {"record_type": "state"},
    )
    with pytest.raises(TraceError, match="no token_count event with counts in it"):
        imported("codex", old)


def write(folder: Path, **logs: Rollout) -> list[Program]:
    folder.mkdir()
    for name, log in logs.items():
        (folder / f"rollout-{name}.jsonl").write_bytes(log.bytes())
    import_trace([folder], folder.with_suffix(".out.jsonl"))
    return list(read_programs(folder.with_suffix(".out.jsonl")))


def test_a_fork_is_served_once(tmp_path: Path) -> None:
    parent = codex_session()
    fork = parent.copied_to("th-2", 100.0).user(101.0).said(105.0).counted(105.1, 4100, 60, 4000)
    again = fork.copied_to("th-3", 200.0).user(201.0).said(203.0).counted(203.1, 4300, 20, 4100)
    first, second, third = write(tmp_path / "in", a=parent, b=fork, c=again)
    assert [len(program.turns) for program in (first, second, third)] == [4, 1, 1]
    assert second == Program("th-2", (Turn(4100, 0, 60),), 100.0)
    # In any order of the files.
    assert write(tmp_path / "other", c=parent, b=fork, a=again) == [first, second, third]


def test_a_copy_that_does_not_say_so(tmp_path: Path) -> None:
    parent = codex_session()
    copy = Rollout("th-9", 50.0)
    copy.records += parent.records[1:]
    first, *rest = write(tmp_path / "in", a=parent, b=copy)
    assert (len(first.turns), rest) == (4, [])


def test_a_fork_of_a_session_that_is_not_there(tmp_path: Path, imported: Imported) -> None:
    fork = codex_session().copied_to("th-2", 100.0).user(101.0).said(105.0).counted(105.1, 4100, 60, 4000)
    (program,) = imported("codex", fork.bytes())
    assert [turn.input_tokens for turn in program.turns] == [9000, 9800, 10000, 4000, 4100]
    # Copied records have the times of copying.
    assert [turn.tool_s for turn in program.turns] == [0, 0, 0, 0, 0]


def parent_and_child(waits: bool) -> tuple[Rollout, Rollout]:
    source = {"subagent": {"thread_spawn": {"parent_thread_id": "p", "depth": 1, "agent_role": "explorer"}}}
    parent = Rollout("p", 0.0).user(0.0).call(3.0, "spawn_agent").counted(3.1, 5000, 50)
    parent.output(3.5, "spawn_agent").call(6.0, "wait_agent" if waits else "shell").counted(6.1, 5100, 20)
    parent.output(20.0, "wait_agent" if waits else "shell").said(24.0).counted(24.1, 5300, 30)
    child = Rollout("c", 3.4, source=source).user(3.5).call(8.0, "shell").counted(8.1, 2000, 70)
    child.output(9.0, "shell").said(19.0).counted(19.1, 2200, 40)
    return parent, child


def test_a_sub_agent_that_is_waited_for(tmp_path: Path) -> None:
    parent, child = parent_and_child(waits=True)
    (program,) = write(tmp_path / "in", p=parent, c=child)
    (found,) = program.children
    assert (found.after_turn, found.join_turn, found.program.program_id) == (0, 2, "p/c")
    assert found.program.turns == (Turn(2000, 0, 70, "shell", 1.0), Turn(2200, 2070, 40))
    # The simulation determines how long the wait takes.
    assert [turn.tool_s for turn in program.turns] == [0.5, 0.0, 0.0]


def test_a_sub_agent_that_runs_on(tmp_path: Path) -> None:
    parent, child = parent_and_child(waits=False)
    (program,) = write(tmp_path / "in", p=parent, c=child)
    assert program.children[0].join_turn is None
    assert program.turns[1].tool_s == 14.0


def test_a_sub_agent_alone(tmp_path: Path) -> None:
    _, child = parent_and_child(waits=False)
    (program,) = write(tmp_path / "in", c=child)
    assert (program.program_id, program.children) == ("c", ())


def test_a_session_with_a_bad_count_is_left_out_whole(tmp_path: Path) -> None:
    broken = codex().replace(b'"input_tokens": 9800', b'"input_tokens": -9800')
    (tmp_path / "rollout-a.jsonl").write_bytes(broken)
    (tmp_path / "rollout-b.jsonl").write_bytes(codex().replace(b"th-1", b"th-2").replace(b"9000", b"9001"))
    with pytest.raises(TraceError, match=r"rollout-a\.jsonl:13: .*input_tokens is -9800, expected an integer from 0"):
        import_trace([tmp_path], tmp_path / "out.jsonl")
    made = import_trace([tmp_path], tmp_path / "out.jsonl", skip_bad=True)
    assert (made.programs, made.header.skipped) == (1, 1)


def test_the_case(tmp_path: Path, case: Callable[[str], Path]) -> None:
    import_trace([case("40-codex-rollout.jsonl")], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert (program.program_id, program.arrival_s) == ("th1", 0.0)
    assert [(t.input_tokens, t.kept_tokens, t.output_tokens, t.tool) for t in program.turns] == [
        (13600, 0, 650, "exec_command"),
        (14472, 14250, 386, "apply_patch"),
        (16196, 14858, 514, None),
    ]
    assert [t.tool_s for t in program.turns] == pytest.approx([12.0, 0.6, 0.0])


def test_an_independent_reader_agrees(imported: Imported) -> None:
    events = [json.loads(line)["payload"] for line in codex().splitlines()]
    infos = [event["info"] for event in events if event.get("type") == "token_count" and event["info"]]
    totals = infos[-1]["total_token_usage"]
    (program,) = imported("codex")
    assert len(program.turns) == len({json.dumps(info["total_token_usage"]) for info in infos})
    assert sum(turn.input_tokens for turn in program.turns) == totals["input_tokens"]
    assert sum(turn.output_tokens for turn in program.turns) == totals["output_tokens"]
