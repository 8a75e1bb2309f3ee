from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continuum_sim.traces import (
    Child,
    Program,
    SharedPrefix,
    ToolCall,
    TraceError,
    Turn,
    check_program,
    find_trace,
    read_programs,
    truncate,
    write_programs,
)
from continuum_sim.traces.write import encode_program

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
counts = st.integers(1, 2**53)
seconds = st.floats(0, 1e12)
calls = st.builds(ToolCall, names, seconds)

finishes = st.sampled_from(["stop", "max_tokens"])
lengths = st.none() | st.floats(1.0, 129.0)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    turns: list[Turn] = []
    for index in range(n_turns := draw(st.integers(1, 5))):
        input_tokens = draw(counts)
        left_tokens = turns[-1].context_tokens if turns else 0
        kept_tokens = draw(st.integers(0, min(input_tokens, left_tokens)))
        is_last = index == n_turns - 1
        tools = () if is_last else tuple(draw(st.lists(calls, max_size=3)))
        tool, tool_s = (None, 0.0) if is_last else (draw(names), draw(seconds))
        tool_s = max((call.tool_s for call in tools), default=tool_s)
        turns.append(Turn(input_tokens, kept_tokens, draw(counts), tool, tool_s, tools, draw(finishes), draw(lengths)))
    shared = st.builds(SharedPrefix, names, st.integers(1, turns[0].input_tokens))
    priority = draw(st.sampled_from([0, 0, 3, -2]))
    return Program(draw(names), tuple(turns), draw(st.none() | seconds), draw(st.none() | shared), priority=priority)


@st.composite
def families(draw: st.DrawFn, name: str, depth: int = 0) -> Program:
    """A program with up to three children, which may have children of their own."""
    program = draw(programs())
    last = len(program.turns) - 1
    children = []
    for number in range(draw(st.integers(0, 3 - depth))):
        after = draw(st.integers(0, last))
        join = draw(st.none() if after == last else st.none() | st.integers(after + 1, last))
        children.append(Child(draw(families(f"{name}/{number}", depth + 1)), after, join))
    arrival_s = program.arrival_s if depth == 0 else None
    return replace(program, program_id=name, arrival_s=arrival_s, children=tuple(children))


@st.composite
def some_families(draw: st.DrawFn) -> list[Program]:
    return [draw(families(f"r{number}")) for number in range(draw(st.integers(1, 3)))]


traces = st.one_of(
    st.lists(programs(), min_size=1, max_size=5, unique_by=lambda program: program.program_id), some_families()
)
any_path = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@any_path
@given(trace=traces)
def test_a_line_is_json_as_python_writes_it(trace: list[Program]) -> None:
    for program in trace:
        line = encode_program(program).decode()
        assert json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":")) + "\n" == line


@any_path
@given(trace=traces, suffix=st.sampled_from(["", ".gz", ".zst"]))
def test_what_is_written_is_read_back(tmp_path: Path, trace: list[Program], suffix: str) -> None:
    path = tmp_path / f"t.jsonl{suffix}"
    assert write_programs(path, iter(trace)) == len(trace)
    assert list(read_programs(path)) == trace
    first = path.read_bytes()
    write_programs(path, trace)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@settings(max_examples=25)
@given(program=programs() | families("r"), max_turns=st.integers(1, 6))
def test_a_truncated_program_obeys_the_rules(program: Program, max_turns: int) -> None:
    cut = truncate(program, max_turns)
    check_program(cut)
    assert len(cut.turns) == min(max_turns, len(program.turns))
    if all(max_turns >= len(member.turns) for member in program.family()):
        assert cut == program


def test_the_bundled_recording_is_already_canonical(tmp_path: Path) -> None:
    source = find_trace("swebench")
    write_programs(tmp_path / "t.jsonl", read_programs(source))
    assert (tmp_path / "t.jsonl").read_bytes() == source.read_bytes()


def test_compressed_bytes_do_not_depend_on_name_or_time(tmp_path: Path, chat: Callable[..., Program]) -> None:
    write_programs(tmp_path / "one.gz", [chat()])
    write_programs(tmp_path / "two.gz", [chat()])
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    header = (tmp_path / "one.gz").read_bytes()[3:8]
    assert header == bytes(5)  # flags (no file name) and time stamp
    assert gzip.decompress((tmp_path / "one.gz").read_bytes()).startswith(b'{"program_id":"a","turns":[')


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path, chat: Callable[..., Program]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("old")

    def broken() -> Iterator[Program]:
        yield chat()
        raise RuntimeError("generator failed")

    with pytest.raises(RuntimeError, match="generator failed"):
        write_programs(path, broken())
    with pytest.raises(TraceError, match='program_id "a" appears twice'):
        write_programs(path, [chat(), chat()])
    with pytest.raises(TraceError, match="no program to write"):
        write_programs(path, [])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named_as_the_user_knows_it(
    tmp_path: Path, chat: Callable[..., Program]
) -> None:
    (tmp_path / "folder").mkdir()
    for out in (tmp_path / "no" / "t.jsonl", tmp_path / "folder"):
        with pytest.raises(OSError, match=".") as error:
            write_programs(out, [chat()])
        assert error.value.filename == str(out)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_program_that_breaks_a_rule_is_not_written(tmp_path: Path, chat: Callable[..., Program]) -> None:
    # NumPy's integers are the usual slip of a generator.
    bad = replace(chat("g7"), turns=(Turn(np.int64(5), 0, 1),))
    with pytest.raises(TraceError) as caught:
        write_programs(tmp_path / "t.jsonl", [bad])
    assert str(caught.value) == ('program "g7": turns[0].input_tokens is a int64, expected an integer from 1 to 2**53')
    assert not list(tmp_path.iterdir())
