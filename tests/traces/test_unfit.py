"""Programs with contexts that are too long: dropped whole, or cut before the first such turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.traces import (
    Child,
    Fitting,
    Program,
    Scale,
    Tail,
    TraceError,
    Turn,
    check_program,
    read_header,
    read_programs,
    rescale_trace,
    write_programs,
)


def agent(name: str, *contexts: int, children: tuple[Child, ...] = ()) -> Program:
    """Return a program whose turns have these contexts, ten tokens of each being output; each turn calls a tool."""
    last = len(contexts) - 1
    turns = [
        Turn(n - 10, 0, 10, None if at == last else "bash", 0.0 if at == last else 1.5) for at, n in enumerate(contexts)
    ]
    return Program(name, tuple(turns), children=children)


FAMILY = agent(
    "boss",
    *(50, 60, 200, 70),
    children=(
        Child(agent("fits", 40, 50), 0, 2),
        Child(agent("too long", 150), 0, 1),
        Child(agent("cut", 40, 90, 101), 0, 1),
        Child(agent("started by the last that is left", 40), 1, 2),
        Child(agent("never started", 40), 2, 3),
    ),
)


@st.composite
def agents(draw: st.DrawFn, name: str = "a", depth: int = 0) -> Program:
    contexts = draw(st.lists(st.integers(11, 99), min_size=1, max_size=5))
    last = len(contexts) - 1
    children = []
    for number in range(draw(st.integers(0, 2 - depth))):
        after = draw(st.integers(0, last))
        join = draw(st.none() if after == last else st.none() | st.integers(after + 1, last))
        children.append(Child(draw(agents(f"{name}/{number}", depth + 1)), after, join))
    return agent(name, *contexts, children=tuple(children))


def test_whole_programs_are_left_out() -> None:
    fitting = Fitting("drop", 100)
    long_child = agent("parent", 20, children=(Child(agent("child", 101), 0),))
    kept = list(fitting.apply([agent("a", 100), agent("b", 20, 101), long_child, agent("c", 30)]))
    assert [program.program_id for program in kept] == ["a", "c"]
    assert fitting.plain() == {"dropped": 2, "truncated": 0, "children": 0, "named": ["b", "parent"]}
    assert str(fitting) == 'too long (contexts above 100 tokens): 2 of 4 programs left out: "b", "parent"'


def test_programs_and_sub_agents_are_cut_each_before_its_own_first_turn_that_is_too_long() -> None:
    fitting = Fitting("truncate", 100)
    (boss,) = fitting.apply([FAMILY])
    assert [turn.context_tokens for turn in boss.turns] == [50, 60]
    assert (boss.turns[-1].tool, boss.turns[-1].tool_s) == (None, 0.0)
    assert [(child.program.program_id, child.join_turn) for child in boss.children] == [("fits", None), ("cut", 1)]
    assert [len(child.program.turns) for child in boss.children] == [2, 2]
    assert fitting.plain() == {"dropped": 0, "truncated": 1, "children": 2, "named": ["boss"]}
    said = "1 of 1 programs cut before their first such turn (with 2 sub-agents)"
    assert str(fitting) == f'too long (contexts above 100 tokens): {said}: "boss"'


def test_a_program_whose_first_turn_is_too_long_is_left_out() -> None:
    fitting = Fitting("truncate", 100)
    programs = [agent(f"p{n}", 101, 20) for n in range(4)] + [agent("q", 20, 101), agent("r", 20)]
    assert [len(program.turns) for program in fitting.apply(programs)] == [1, 1]
    assert (fitting.dropped, fitting.truncated) == (4, 1)
    assert str(fitting).endswith(
        '4 of 6 programs left out and 1 cut before their first such turn: "p0", "p1", "p2" and 2 more'
    )


@given(program=agents(), most_tokens=st.integers(5, 100))
def test_what_is_left_fits_and_is_a_beginning_of_what_was_there(program: Program, most_tokens: int) -> None:
    before = {member.program_id: member for member in program.family()}
    fits = all(turn.context_tokens <= most_tokens for member in before.values() for turn in member.turns)
    kept = _left(Fitting("truncate", most_tokens), program)
    assert (kept is program) == fits
    if kept is None:
        assert program.turns[0].context_tokens > most_tokens
        return
    check_program(kept)
    for member in kept.family():
        whole = before[member.program_id].turns
        number = len(member.turns)
        assert member.turns[:-1] == whole[: number - 1]
        assert member.max_context_tokens <= most_tokens
        assert number == len(whole) or whole[number].context_tokens > most_tokens
    assert (_left(Fitting("drop", most_tokens), program) is program) == fits


def _left(fitting: Fitting, program: Program) -> Program | None:
    other = agent("other", 2 + 10 - 1)
    try:
        left = {kept.program_id: kept for kept in fitting.apply([program, other])}
    except TraceError:
        return None
    return left.get(program.program_id)


def test_a_trace_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    write_programs(tmp_path / "t.jsonl", [FAMILY])
    with pytest.raises(TraceError, match=r'no program is left; too long .* 1 of 1 programs left out: "boss"'):
        rescale_trace(tmp_path / "t.jsonl", tmp_path / "out.jsonl", fitting=Fitting("drop", 100))
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_a_trace_is_cut_at_its_new_size_and_its_header_says_so(tmp_path: Path) -> None:
    write_programs(tmp_path / "t.jsonl", [FAMILY, agent("short", 40, 60)])
    fitting = Fitting("drop", 101)
    tail = Tail(quantile=0.5, stretch=2)
    rescale_trace(tmp_path / "t.jsonl", tmp_path / "o.jsonl", scale=Scale(outputs=2), tail=tail, fitting=fitting)
    assert [program.program_id for program in read_programs(tmp_path / "o.jsonl")] == ["short"]
    header = read_header(tmp_path / "o.jsonl")
    assert header is not None
    assert header.derived[-1].endswith("too long (contexts above 101 tokens): 1 of 2 programs left out")


def test_programs_pass_one_by_one() -> None:
    asked: list[int] = []

    def endless() -> Iterator[Program]:
        for number in range(10**9):
            asked.append(number)
            yield agent(f"p{number}", 20 if number % 2 else 200)

    first = next(Fitting("drop", 100).apply(endless()))
    assert (first.program_id, asked) == ("p1", [0, 1])
