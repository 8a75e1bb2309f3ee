"""Claude Code's sub-agents, background work, placeholders, streams, and continued sessions."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Program, Turn, import_trace, read_header, read_programs
from continuum_sim.traces.importers import claude_sessions
from continuum_sim.traces.importers.claude_code import CLAUDE_CODE
from continuum_sim.traces.importers.head import head_of
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.state import ImportState
from support.claude_logs import Log, Record, call, news, said, side
from support.logs import word_tokenizer

Imported = Callable[..., list[Program]]
CASES = Path(__file__).parents[4] / "shared" / "cases" / "traces"
LAUNCHED = {"isAsync": True, "status": "async_launched", "agentId": "ag"}


def imported_folder(folder: Path, **files: Log) -> list[Program]:
    """Import sessions as files of a folder; ``a__b`` is ``a/b.jsonl``."""
    for name, log in files.items():
        path = folder / "in" / f"{name.replace('__', '/')}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(log.bytes())
    import_trace([folder / "in"], folder / "out.jsonl")
    return list(read_programs(folder / "out.jsonl"))


def with_child(folder: Path, main: Log, child: Log) -> Program:
    (program,) = imported_folder(folder, **{"s1": main, "s1__subagents__agent-ag": child})
    return program


def notes(folder: Path) -> dict[str, int]:
    header = read_header(folder / "out.jsonl")
    assert header is not None
    return dict(header.notes)


def gaps(program: Program) -> list[tuple[str | None, Any]]:
    return [(turn.tool, pytest.approx(turn.tool_s, abs=1e-3)) for turn in program.turns]


def case(name: str, folder: Path, **options: Any) -> list[Program]:
    path = CASES / name
    if not path.exists():
        pytest.skip(f"the cases are not here ({name})")
    import_trace([path], folder / "out.jsonl", **options)
    return list(read_programs(folder / "out.jsonl"))


def launching(at: float = 5.0) -> Log:
    """A main conversation that has launched a background sub-agent and continued."""
    log = Log().says(0, "do it").answers(at, "m1", 20_000, 200, call("t1", "Agent", prompt="look"))
    return log.result(at + 0.2, "t1", LAUNCHED).answers(at + 3, "m2", 20_300, 60, said("I wait"))


# --- sub-agents in the background ---------------------------------------------------------------


@pytest.mark.parametrize("text", [news("ag", "t1"), news("ag"), news("other", "t1")])
def test_waiting_for_a_background_agent(tmp_path: Path, text: str) -> None:
    main = with_child(tmp_path, launching().says(308, text).answers(312, "m3", 21_000, 120), side("ag", 5.2, 307))
    assert gaps(main) == [("Agent", 0.2), ("Agent", 0.0), (None, 0.0)]
    assert [(child.after_turn, child.join_turn) for child in main.children] == [(0, 2)]
    assert gaps(main.children[0].program)[0] == ("Grep", 299.8)


def test_a_background_agent_that_ends_while_other_tools_run(tmp_path: Path) -> None:
    log = launching().answers(8, "m2", 20_300, 60, call("t2", "Bash", command="make"))
    log.record("attachment", 30, attachment={"type": "queued_command", "prompt": news("ag", "t1")})
    log.result(38, "t2").answers(40, "m3", 21_000, 120)
    main = with_child(tmp_path, log, side("ag", 5.2, 30))
    # Joined, and the shell ran for 30 s regardless of the sub-agent.
    assert (gaps(main)[1], main.children[0].join_turn) == (("Bash", 30.0), 2)


def test_a_person_who_writes_while_a_background_agent_ends(tmp_path: Path) -> None:
    log = launching().says(20, news("ag", "t1")).says(68, "and now?").answers(70, "m3", 21_000, 120)
    main = with_child(tmp_path, log, side("ag", 5.2, 19))
    assert (gaps(main)[1], main.children[0].join_turn) == (("Agent+human", 60.0), 2)


@pytest.mark.parametrize("text", [news("ag"), news("other", "t1")])
def test_news_that_was_only_queued(tmp_path: Path, text: str) -> None:
    log = launching().record("queue-operation", 20, operation="enqueue", content=text)
    log.says(68, "and now?").answers(70, "m3", 21_000, 120)
    main = with_child(tmp_path, log, side("ag", 5.2, 19))
    assert (gaps(main)[1], main.children[0].join_turn) == (("human", 60.0), 2)


@pytest.mark.parametrize("name", ["TaskOutput", "AgentOutputTool"])
@pytest.mark.parametrize("is_over", [True, False])
def test_a_tool_that_waits_for_a_background_agent(tmp_path: Path, name: str, is_over: bool) -> None:
    log = launching().answers(8, "m2", 20_300, 60, call("t2", name, task_id="ag"))
    task = {"task_id": "ag", "status": "completed" if is_over else "running"}
    noted = {"retrieval_status": "success" if is_over else "timeout", "task": task}
    # When the tool gave up, the sub-agent ended while the response was on its way.
    main = with_child(
        tmp_path, log.result(38, "t2", noted).answers(40, "m3", 21_000, 9), side("ag", 5.2, 37 if is_over else 39.9)
    )
    expected = ((name, 0.0), 2) if is_over else ((name, 30.0), None)
    assert (gaps(main)[1], main.children[0].join_turn) == expected


def test_old_output_tools_note_their_agents_by_id(tmp_path: Path) -> None:
    log = launching().answers(8, "m2", 20_300, 60, call("t2", "AgentOutputTool", agentId="ag", block=True))
    noted = {"retrieval_status": "success", "agents": {"ag": {"status": "completed"}}}
    main = with_child(tmp_path, log.result(38, "t2", noted).answers(40, "m3", 21_000, 9), side("ag", 5.2, 37))
    assert main.children[0].join_turn == 2


def test_a_sub_agent_that_goes_on_after_the_response_was_not_waited_for(tmp_path: Path) -> None:
    log = launching().says(30, news("ag", "t1")).answers(34, "m3", 21_000, 120)
    main = with_child(tmp_path, log, side("ag", 5.2, 90))
    assert main.children[0].join_turn is None
    assert gaps(main)[1] == ("Agent", 22.0)


def test_a_sub_agent_that_was_resumed_is_waited_for_at_its_second_end(tmp_path: Path) -> None:
    log = launching().says(30, news("ag", "t1")).answers(34, "m3", 21_000, 120, call("t3", "SendMessage", to="ag"))
    log.result(34.5, "t3", {"success": True, "resumedAgentId": "ag"}).answers(36, "m4", 21_300, 20)
    main = with_child(tmp_path, log.says(95, news("ag", "t3")).answers(99, "m5", 21_600, 20), side("ag", 5.2, 94))
    assert (main.children[0].after_turn, main.children[0].join_turn) == (0, 4)


def test_a_sub_agent_in_the_foreground(tmp_path: Path) -> None:
    log = Log().says(0, "do it").answers(5, "m1", 20_000, 200, call("t1", "Task", prompt="look"))
    log.result(61, "t1", {"status": "completed", "agentId": "ag"}).answers(64, "m2", 20_400, 9)
    main = with_child(tmp_path, log, side("ag", 5.2, 60))
    assert (gaps(main)[0], main.children[0].join_turn) == (("Task", 0.0), 1)


def test_sub_agents_beside_the_session(tmp_path: Path) -> None:
    """Versions 2.0.2x to 2.0.5x: ``agent-ID.jsonl`` in the session's folder, linked to it by ``sessionId``."""
    log = Log().says(0, "do it").answers(5, "m1", 20_000, 200, call("t1", "Task", prompt="look"))
    log.result(61, "t1", {"status": "completed", "agentId": "ag"}).answers(64, "m2", 20_400, 9)
    (main,) = imported_folder(tmp_path, **{"agent-ag": side("ag", 5.2, 60), "s1": log})
    assert [child.program.program_id for child in main.children] == ["s1/ag"]


def test_a_sub_agent_without_an_answer_is_known_by_what_it_was_told(tmp_path: Path) -> None:
    log = Log().says(0, "do it").answers(5, "m1", 20_000, 200, call("t1", "Task", prompt="look "))
    main = with_child(tmp_path, log.says(70, "stop").answers(75, "m2", 20_400, 9), side("ag", 5.2, 60))
    assert [(child.after_turn, child.join_turn) for child in main.children] == [(0, None)]


def test_a_sub_agent_that_only_its_progress_tells_of(tmp_path: Path) -> None:
    log = Log().says(0, "do it").answers(5, "m1", 20_000, 200, call("t1", "Skill", skill="review"))
    log.record("progress", 20, data={"type": "agent_progress", "agentId": "ag"}, parentToolUseID="t1")
    main = with_child(tmp_path, log.result(61, "t1").answers(64, "m2", 20_400, 9), side("ag", 5.2, 60))
    assert (gaps(main)[0], main.children[0].join_turn) == (("Skill", 0.0), 1)


def test_a_launch_that_only_its_text_tells_of(tmp_path: Path) -> None:
    log = Log().says(0, "do it").answers(5, "m1", 20_000, 200, call("t1", "Agent", prompt="something else"))
    log.result(5.2, "t1", text="Async agent launched successfully.\nagentId: ag (internal)")
    log.answers(8, "m2", 20_300, 60, said("I wait")).says(308, news("ag")).answers(312, "m3", 21_000, 120)
    main = with_child(tmp_path, log, side("ag", 5.2, 307))
    assert (gaps(main)[0], main.children[0].join_turn) == (("Agent", 0.2), 2)


# --- shells in the background -------------------------------------------------------------------


def shell(at: float = 5.0) -> Log:
    log = Log().says(0, "do it").answers(at, "m1", 20_000, 200, call("b1", "Bash", run_in_background=True))
    log.result(at + 0.1, "b1", {"stdout": "", "backgroundTaskId": "x7"})
    return log.answers(at + 3, "m2", 20_300, 60, said("I wait"))


def test_waiting_for_a_background_shell(imported: Imported) -> None:
    (program,) = imported("claude-code", shell().says(128, news("x7", "b1")).answers(130, "m3", 21_000, 9).bytes())
    assert gaps(program) == [("Bash", 0.1), ("Bash", 120.0), (None, 0.0)]
    (program,) = imported("claude-code", shell().says(128, news("x7")).answers(130, "m3", 21_000, 9).bytes())
    assert gaps(program)[1] == ("Bash", 120.0)
    old = "<bash-notification>\n<shell-id>x7</shell-id>\n<status>completed</status>\n</bash-notification>"
    (program,) = imported("claude-code", shell().says(128, old).answers(130, "m3", 21_000, 9).bytes())
    assert gaps(program)[1] == ("Bash", 120.0)


@pytest.mark.parametrize("name", ["BashOutput", "TaskOutput", "KillShell"])
def test_tools_for_background_shells_take_their_own_time(imported: Imported, name: str) -> None:
    log = shell().answers(8, "m2", 20_300, 60, call("b2", name, bash_id="x7"))
    (program,) = imported("claude-code", log.result(38, "b2").answers(40, "m3", 21_000, 9).bytes())
    assert gaps(program)[1] == (name, 30.0)


def test_messages_of_other_agents_are_no_persons(imported: Imported) -> None:
    log = shell().says(30, "<teammate-message from='x'>hi</teammate-message>").answers(33, "m3", 21_000, 9)
    log.says(60, "hello", origin={"kind": "peer"}).answers(63, "m4", 21_100, 9)
    log.says(90, "hello", origin={"kind": "human"}).answers(93, "m5", 21_200, 9)
    (program,) = imported("claude-code", log.bytes())
    assert ["human" in (turn.tool or "") for turn in program.turns] == [False, False, False, True, False]


# --- sub-agents in the session's own file -------------------------------------------------------


def inline(*, told: tuple[str, str] = ("find", "read"), asked: tuple[str, str] = ("find", "read")) -> list[Record]:
    """Two sub-agents at once, without ids."""
    blocks = [call(f"t{n}", "Task", prompt=asked[n]) for n in (0, 1)]
    main = Log(version="1.0.29").says(0, "plan it").answers(10, "m1", 20_000, 150, *blocks)
    before = list(main.records)
    for n, at in ((0, 20.0), (1, 25.0)):
        main.result(at, f"t{n}", {"totalDurationMs": 9000})
    main.answers(30, "m2", 20_600, 80)
    sides = []
    for n, end in ((0, 19.9), (1, 24.9)):
        log = Log(f"x{n}", isSidechain=True, sessionId="s1").says(10.1, told[n])
        log.answers(12, f"n{n}", 9_000 + n, 90, call(f"g{n}", "Grep")).result(end - 3, f"g{n}")
        sides += log.answers(end, f"o{n}", 9_400 + n, 200).records
    return [*before, *sides, *main.records[len(before) :]]


def as_file(records: list[Record]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in records)


def test_sub_agents_in_the_sessions_own_file(imported: Imported) -> None:
    (main,) = imported("claude-code", as_file(inline(told=("read", "find"))))
    assert gaps(main)[0] == ("Task", 0.0)
    joins = {child.program.program_id: (child.after_turn, child.join_turn) for child in main.children}
    assert joins == {"s1/sidechain-x0-0": (0, 1), "s1/sidechain-x1-0": (0, 1)}


def test_an_inline_sub_agent_that_nobody_asked_for(imported: Imported) -> None:
    main, stray = imported("claude-code", as_file(inline(told=("find", "warm up"))))
    assert (len(main.children), stray.program_id) == (1, "s1/sidechain-x1-0")


def test_what_other_tools_take_beside_an_inline_sub_agent(imported: Imported) -> None:
    records = inline()
    records[1]["message"]["content"][1] = call("t1", "Bash", command="make")
    records = [one for one in records if not one["uuid"].startswith("x1-")]
    (main,) = imported("claude-code", as_file(records))
    assert (gaps(main)[0], len(main.children)) == (("Task+Bash", 15.0), 1)


# --- placeholders -------------------------------------------------------------------------------


def placeholders() -> Log:
    log = Log().says(0, "write it").answers(20, "m1", 20_000, 1, said("I will write the parser now, with tests."))
    log.answers(41, "m1", 20_000, 1, call("t1", "Write", content="x = 1\n" * 300)).result(41.2, "t1")
    log.answers(44, "m2", 21_000, 2, call("t2", "Bash", command="pytest -q tests --maxfail 1")).result(49, "t2")
    return log.answers(55, "m3", 21_200, 80, said("All tests pass."))


def test_placeholders_are_counted(imported: Imported, tmp_path: Path) -> None:
    (program,) = imported("claude-code", placeholders().bytes())
    assert [turn.output_tokens for turn in program.turns] == [1, 2, 80]
    assert notes(tmp_path)["responses whose recorded output is a placeholder: the trace's are too low"] == 2


def test_placeholders_are_counted_in_their_text_with_a_tokenizer(imported: Imported, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    (program,) = imported("claude-code", placeholders().bytes(), tokenizer=word_tokenizer(tmp_path))
    # In words: 8 of the text, the tool's name, and its input as JSON.
    first, second, third = (turn.output_tokens for turn in program.turns)
    assert first > 100
    assert second > 2
    assert third == 80
    assert notes(tmp_path)["responses whose recorded output is a placeholder, counted in their text"] == 2


def not_measured(folder: Path, content: bytes) -> set[str]:
    (folder / "s.jsonl").write_bytes(content)
    session = ImportState()
    list(CLAUDE_CODE.read([Source(folder / "s.jsonl")], session))
    return session.not_measured


def test_placeholders_take_outputs_out_of_what_is_measured(tmp_path: Path) -> None:
    assert not_measured(tmp_path, placeholders().bytes()) == {"output_tokens"}
    assert not_measured(tmp_path, shell().bytes()) == set()


def test_a_long_run_of_one_character_is_few_tokens(imported: Imported, tmp_path: Path) -> None:
    log = Log().says(0, "?").answers(1, "m1", 100, 20, said("=" * 4_000)).says(2, "?").answers(3, "m2", 200, 5)
    imported("claude-code", log.bytes())
    assert notes(tmp_path) == {}


# --- copied histories, resumed and forked sessions ----------------------------------------------


def test_a_history_with_one_time_on_all_of_it(imported: Imported, tmp_path: Path) -> None:
    log = Log().says(0, "do it").answers(0, "m1", 20_000, 200, call("t1", "Bash")).result(0, "t1")
    log.answers(0, "m2", 20_500, 80).says(120, "go on").answers(126, "m3", 21_100, 50, call("t2", "Read"))
    (program,) = imported("claude-code", log.result(126, "t2").answers(130, "m4", 21_400, 30).bytes())
    # The last gap was shorter than a clock of ms resolves; the first is unknown.
    assert gaps(program) == [("Bash", 0.0), ("human", 120.0), ("Read", 0.0), (None, 0.0)]
    assert notes(tmp_path)["responses without times around them, gap taken as 0 s"] == 1


def begun(session: str = "s1", shift: float = 0.0) -> Log:
    log = Log(session).says(shift, "do it").answers(shift + 5, "m1", 20_000, 100, call("t1", "Bash"))
    return log.result(shift + 8, "t1").answers(shift + 10, "m2", 20_300, 60, said("done"))


def copied(log: Log, session: str, at: float | None = None) -> Log:
    """Return a session that begins with copies of another one's records."""
    copy = Log(session)
    times = {} if at is None else {"timestamp": Log().record("user", at).records[0]["timestamp"]}
    copy.records = [{**one, "sessionId": session, **times} for one in log.records]
    copy.at = log.at
    return copy


@pytest.mark.parametrize("restamped", [None, 3600.0])
@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_resumed_session_counts_once_and_goes_on(
    tmp_path: Path, restamped: float | None, names: tuple[str, str]
) -> None:
    log = copied(begun(), "s2", restamped).says(3610, "more").answers(3615, "m3", 20_500, 30)
    (program,) = imported_folder(tmp_path, **dict(zip(names, (begun(), log), strict=True)))
    assert program.program_id == "s1"
    assert program.turns == (
        Turn(20_000, 0, 100, "Bash", 3.0),
        Turn(20_300, 20_100, 60, "human", 3600.0),
        Turn(20_500, 20_360, 30),
    )
    assert notes(tmp_path)["responses that a resumed or forked session has too, counted once"] == 2


def test_a_session_resumed_twice(tmp_path: Path) -> None:
    second = copied(begun(), "s2").says(100, "more").answers(105, "m3", 20_500, 30)
    third = copied(second, "s3").says(200, "more").answers(205, "m4", 20_700, 30)
    (program,) = imported_folder(tmp_path, c=third, b=second, a=begun())
    assert [turn.input_tokens for turn in program.turns] == [20_000, 20_300, 20_500, 20_700]


def test_a_fork_keeps_what_both_have_in_common(tmp_path: Path) -> None:
    one = begun()
    fork = (
        copied(one, "s2")
        .says(200, "or so")
        .answers(205, "f1", 25_000, 30)
        .says(220, "and")
        .answers(225, "f2", 26_000, 9)
    )
    one.says(100, "this way").answers(105, "m3", 30_000, 40)
    (program,) = imported_folder(tmp_path, one=one, two=fork)
    assert [(turn.input_tokens, turn.kept_tokens) for turn in program.turns] == [
        (20_000, 0),
        (20_300, 20_100),
        (30_000, 20_360),
        (25_000, 20_360),
        (26_000, 25_030),
    ]
    assert gaps(program)[2] == ("human", 95.0)


def test_forks_at_the_same_time_are_put_one_after_the_other(tmp_path: Path) -> None:
    one = begun()
    fork = copied(one, "s2").says(110, "or so").answers(115, "f1", 25_000, 30)
    one.says(100, "this way").answers(105, "m3", 30_000, 40).says(190, "on").answers(200, "m4", 30_100, 9)
    (program,) = imported_folder(tmp_path, one=one, two=fork)
    assert [turn.input_tokens for turn in program.turns] == [20_000, 20_300, 30_000, 30_100, 25_000]
    assert gaps(program)[3] == ("human", 0.0)
    assert notes(tmp_path)["branches that ran at the same time (forked sessions), put one after the other"] == 1


def test_a_session_that_only_repeats_another_adds_nothing(tmp_path: Path) -> None:
    assert imported_folder(tmp_path, one=begun(), two=copied(begun(), "s2")) == imported_folder(tmp_path, one=begun())


def test_sessions_that_use_the_same_ids_are_not_one(tmp_path: Path) -> None:
    """Anthropic's ids are unique; those of a gateway or a local server that counts up are not."""
    programs = imported_folder(tmp_path, a=begun("s1"), b=begun("s2", shift=50.0))
    assert [(one.program_id, one.arrival_s, len(one.turns)) for one in programs] == [("s1", 0.0, 2), ("s2", 50.0, 2)]


def test_a_sub_agent_in_two_sessions_does_not_make_them_one(tmp_path: Path) -> None:
    logs = {}
    for name in ("s1", "s2"):
        log = Log(name).says(0, "do it").answers(5, f"{name}-1", 20_000, 200, call("t1", "Task", prompt="look"))
        log.result(61, "t1", {"status": "completed", "agentId": "ag"}).answers(64, f"{name}-2", 20_400, 9)
        logs |= {name: log, f"{name}__subagents__agent-ag": side("ag", 5.2, 60)}
    assert [(one.program_id, len(one.turns)) for one in imported_folder(tmp_path, **logs)] == [("s1", 2), ("s2", 2)]


def test_sessions_of_one_file_that_have_nothing_in_common(imported: Imported) -> None:
    other = Log("s2").says(50, "else").answers(55, "k1", 700, 100)
    both = imported("claude-code", begun().bytes() + other.bytes())
    assert [(one.program_id, one.arrival_s) for one in both] == [("s1", 0.0), ("s2", 50.0)]


def test_a_file_in_which_the_session_goes_on_under_another_id(imported: Imported) -> None:
    log = begun()
    log.common["sessionId"] = "s2"
    # Records without a place in the conversation say nothing about it.
    before, log.at = log.at, None
    log.record("queue-operation", 19, operation="dequeue")
    log.at = before
    (program,) = imported("claude-code", log.says(20, "more").answers(25, "m3", 20_500, 30).bytes())
    assert len(program.turns) == 3


def test_users_folders_keep_their_real_concurrency(tmp_path: Path) -> None:
    logs = {
        f"{user}__p__{name}": Log(f"{user}-{name}").says(at, "x").answers(at + 5, f"{user}{name}", 100, 10)
        for user, name, at in (("ann", "s9", 40.0), ("bob", "s1", 10.0), ("bob", "s2", 55.0))
    }
    programs = imported_folder(tmp_path, **logs)
    assert [(one.program_id, one.arrival_s) for one in programs] == [
        ("bob-s1", 0.0),
        ("ann-s9", 30.0),
        ("bob-s2", 45.0),
    ]


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    one = begun()
    fork = copied(one, "s2").says(200, "or so").answers(205, "f1", 25_000, 30)
    one.says(100, "this way").answers(105, "m3", 30_000, 40)
    other = Log("s3").says(-50, "x").answers(-45, "k1", 700, 100)
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for path, log in zip(paths, (one, fork, other), strict=True):
        path.write_bytes(log.bytes())
    made = set()
    for order in itertools.permutations(paths):
        import_trace(order, tmp_path / "out.jsonl")
        made.add((tmp_path / "out.jsonl").read_bytes())
    assert len(made) == 1


# --- the stream ---------------------------------------------------------------------------------


def stream() -> list[Record]:
    """Output of ``claude -p --output-format stream-json``: no times, and sub-agents by the call that started them."""
    sid = {"session_id": "x1"}

    def one(kind: str, message: Record, parent: str | None = None) -> Record:
        return {"type": kind, **sid, "parent_tool_use_id": parent, "message": message}

    def answer(id: str, prompt: int, output: int, *blocks: Record) -> Record:
        return {
            "id": id,
            "model": "m",
            "content": list(blocks),
            "usage": {"input_tokens": prompt, "output_tokens": output},
        }

    def result(tool: str) -> Record:
        return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": tool, "content": "ok"}]}

    return [
        {"type": "system", "subtype": "init", **sid, "model": "m", "tools": ["Bash"], "claude_code_version": "2.0.76"},
        one("assistant", answer("m1", 20_000, 100, call("t1", "Task", prompt="look"))),
        one("user", {"role": "user", "content": [{"type": "text", "text": "look"}]}, "t1"),
        one("assistant", answer("n1", 9_000, 70, call("g", "Grep")), "t1"),
        one("user", result("g"), "t1"),
        one("assistant", answer("n2", 9_200, 60), "t1"),
        one("user", result("t1")),
        one("assistant", answer("m2", 20_300, 50)),
        {"type": "result", "subtype": "success", **sid, "usage": {"input_tokens": 2, "output_tokens": 150}},
    ]


def test_the_stream(imported: Imported, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(as_file(stream()))
    made = import_trace([tmp_path / "x.jsonl"], tmp_path / "out.jsonl")
    assert (made.format, made.sure) == ("claude-code", 0.95)
    (main,) = read_programs(tmp_path / "out.jsonl")
    assert main.program_id == "x1"
    assert [turn.input_tokens for turn in main.turns] == [20_000, 20_300]
    (child,) = main.children
    assert (child.after_turn, child.join_turn, child.program.program_id) == (0, 1, "x1/t1")
    assert [turn.input_tokens for turn in child.program.turns] == [9_000, 9_200]
    # `--output-format json --verbose` writes the same records as one array.
    assert imported("claude-code", json.dumps(stream(), indent=1).encode()) == [main]


def test_the_streams_result_is_held_against_the_responses(imported: Imported, tmp_path: Path) -> None:
    records = stream()
    imported("claude-code", as_file(records))
    assert not [note for note in notes(tmp_path) if note.startswith("results")]
    records[-1]["usage"]["output_tokens"] = 2_000
    imported("claude-code", as_file(records))
    assert [note for note in notes(tmp_path) if note.startswith("results with more output tokens")]
    assert not_measured(tmp_path, as_file(records)) == {"output_tokens"}


def test_events_of_the_stream_know_the_output(imported: Imported) -> None:
    records = stream()
    own = {"type": "stream_event", "session_id": "x1", "parent_tool_use_id": None}
    records[1:1] = [{**own, "event": {"type": "message_start", "message": {"id": "m1", "usage": {"output_tokens": 1}}}}]
    records[3:3] = [{**own, "event": {"type": "message_delta", "usage": {"output_tokens": 777}}}]
    assert imported("claude-code", as_file(records))[0].turns[0].output_tokens == 777


def test_news_in_the_stream(imported: Imported) -> None:
    records = stream()
    launch = next(one for one in records if one["type"] == "user" and not one["parent_tool_use_id"])
    launch["tool_use_result"] = {"isAsync": True, "status": "async_launched", "agentId": "ag"}
    records.insert(
        -1,
        {
            "type": "system",
            "subtype": "task_notification",
            "session_id": "x1",
            "task_id": "ag",
            "status": "completed",
            "tool_use_id": "t1",
        },
    )
    more = {"id": "m3", "model": "m", "content": [], "usage": {"input_tokens": 20_500, "output_tokens": 5}}
    records.insert(-1, {"type": "assistant", "session_id": "x1", "parent_tool_use_id": None, "message": more})
    (main,) = imported("claude-code", as_file(records))
    assert [(child.after_turn, child.join_turn) for child in main.children] == [(0, 2)]


# --- what is not Claude Code's ------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        {
            "uuid": "a",
            "parentUuid": None,
            "sessionId": "s",
            "type": "assistant",
            "message": {"role": "model", "parts": []},
            "usageMetadata": {"promptTokenCount": 5},
        },
        {"sessionId": "s", "projectHash": "h", "type": "gemini", "tokens": {"input": 5, "output": 6}},
    ],
    ids=["qwen", "gemini"],
)
def test_sessions_of_other_agents_are_not_taken(record: Record) -> None:
    assert CLAUDE_CODE.sniff(head_of(as_file([record]))) == 0


def test_records_of_other_kinds_hold_anything(imported: Imported) -> None:
    odd: list[Any] = [
        {"type": "error", "message": "text", "sessionId": "s1"},
        {"type": "user", "message": {"content": None}, "toolUseResult": "Error", "sessionId": "s1", "uuid": 5},
        {"type": 7, "toolUseResult": {"status": 404, "agents": [1], "task": "x"}, "timestamp": "2026-11-02T09:00:00Z"},
        {"type": "attachment", "attachment": [1], "isMeta": "yes"},
        {"type": "user", "message": {"content": ["a", {"type": "text", "text": None}]}, "parentUuid": 3},
    ]
    expected = imported("claude-code", begun().bytes())
    assert imported("claude-code", begun().bytes() + as_file(odd)) == expected


# --- the cases ----------------------------------------------------------------------------------


def test_a_long_session_goes_to_disk_in_pieces(imported: Imported, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = imported("claude-code")
    assert len(whole[0].turns) > 2
    monkeypatch.setattr(claude_sessions, "PIECE", 1)
    assert imported("claude-code") == whole


def test_case_04_placeholders(tmp_path: Path) -> None:
    (program,) = case("04-claude-code-output-placeholder.jsonl", tmp_path)
    assert [turn.output_tokens for turn in program.turns] == [1, 2, 80]
    assert notes(tmp_path)["responses whose recorded output is a placeholder: the trace's are too low"] == 2


def test_case_05_background_agent(tmp_path: Path) -> None:
    (program,) = case("05-claude-code-background-agent", tmp_path)
    assert [(turn.input_tokens, turn.output_tokens) for turn in program.turns] == [
        (20_000, 200),
        (20_300, 60),
        (21_000, 120),
    ]
    assert gaps(program) == [("Agent", 0.2), ("Agent", 0.0), (None, 0.0)]
    (child,) = program.children
    assert (child.after_turn, child.join_turn) == (0, 2)
    assert gaps(child.program) == [("Bash", 290.0), (None, 0.0)]


def test_case_08_restamped_history(tmp_path: Path) -> None:
    (program,) = case("08-claude-code-restamped-history.jsonl", tmp_path)
    assert [gap for _, gap in gaps(program)] == [0.0, 0.0, 120.0, 0.1, 0.0]
    assert notes(tmp_path)["responses without times around them, gap taken as 0 s"] == 2


def test_case_10_inline_sidechain(tmp_path: Path) -> None:
    (program,) = case("10-claude-code-inline-sidechain.jsonl", tmp_path)
    assert gaps(program) == [("Task", 0.0), (None, 0.0)]
    assert [(child.after_turn, child.join_turn) for child in program.children] == [(0, 1)]


def test_case_30_stream_json(tmp_path: Path) -> None:
    (program,) = case("30-claude-code-stream-json.jsonl", tmp_path)
    assert program.turns == (Turn(20_000, 0, 100, "Bash", 0.0), Turn(20_300, 20_100, 50))
    assert notes(tmp_path) == {"responses without times around them, gap taken as 0 s": 1}


# This process's own peak: getrusage also counts the process it was forked from.
_PEAK = r"""
import re, sys
from continuum_sim.traces import import_trace
made = import_trace([sys.argv[1]], sys.argv[2])
print(made.turns, re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    text = "line of output\n" * 20_000
    for number in range(20):
        log = Log(f"s{number}").says(0, "go")
        for turn in range(10):
            log.answers(turn * 9 + 3, f"m{number}-{turn}", 20_000 + turn, 50, call(f"t{turn}", "Bash", command="make"))
            log.result(turn * 9 + 7, f"t{turn}", {"stdout": text, "stderr": ""}, text)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"s{number}.jsonl").write_bytes(log.bytes())
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "in"), str(tmp_path / "out.jsonl")]
    turns, peak_kib = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(turns) == 200
    assert int(peak_kib) < 100 * 1024
