"""Scaled traces: valid, of the same shape, with sums that keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.traces import (
    Scale,
    Tail,
    ToolCall,
    TraceError,
    check_program,
    check_trace,
    find_trace,
    parse_scale,
    parse_tail,
    read_header,
    read_programs,
    rescale_trace,
    write_programs,
)
from continuum_sim.traces.schema import Child, Program, SharedPrefix, Turn


@st.composite
def programs(draw: st.DrawFn) -> Program:
    turns: list[Turn] = []
    context = 0
    count = draw(st.integers(1, 8))
    for index in range(count):
        kept = draw(st.sampled_from([context, draw(st.integers(0, context))])) if index else 0
        new = draw(st.integers(0 if kept else 1, 5000))
        output = draw(st.integers(1, 3000))
        last = index == count - 1
        turns.append(Turn(kept + new, kept, output, None if last else "bash", 0.0 if last else draw(st.floats(0, 99))))
        context = kept + new + output
    prefix = draw(st.none() | st.integers(1, turns[0].input_tokens).map(lambda tokens: SharedPrefix("system", tokens)))
    return Program("p", tuple(turns), 1.5, prefix)


@given(programs(), st.floats(0.3, 500), st.floats(0.01, 100))
def test_a_scaled_program_is_valid_and_keeps_its_shape(program: Program, tokens: float, gaps: float) -> None:
    (scaled,) = Scale(tokens, gaps).apply([program])
    check_program(scaled)
    assert (scaled.program_id, scaled.arrival_s) == (program.program_id, program.arrival_s)
    context = before = 0
    for index, (one, other) in enumerate(zip(scaled.turns, program.turns, strict=True)):
        assert one.tool == other.tool
        assert one.tool_s == pytest.approx(other.tool_s / gaps)
        # Sums keep: a context is off by rounding and the least sizes of its turns, never by more.
        assert abs(one.context_tokens - other.context_tokens / tokens) <= 1 + 2 * (index + 1)
        if index and other.kept_tokens == before:
            assert one.kept_tokens == context
        context, before = one.context_tokens, other.context_tokens


def test_scaling_by_one_changes_nothing() -> None:
    programs = list(read_programs(find_trace("swebench"), limit=5))
    assert list(Scale().apply(programs)) == programs


@pytest.mark.parametrize("tokens", [4, 8, 16])
def test_the_bundled_trace_keeps_its_totals(tokens: int) -> None:
    programs = list(read_programs(find_trace("swebench"), limit=30))
    scaled = list(Scale(tokens=tokens).apply(programs))

    def total(of: list[Program], name: str) -> int:
        return sum(getattr(turn, name) for program in of for turn in program.turns)

    for name in ("input_tokens", "output_tokens", "new_tokens"):
        assert total(scaled, name) * tokens == pytest.approx(total(programs, name), rel=0.02)


@given(programs(), st.floats(0.3, 50))
def test_outputs_alone_can_be_divided(program: Program, outputs: float) -> None:
    (scaled,) = Scale(outputs=outputs).apply([program])
    check_program(scaled)
    total = sum(turn.output_tokens for turn in program.turns)
    assert abs(sum(turn.output_tokens for turn in scaled.turns) - total / outputs) <= 1 + len(program.turns)
    context = before = 0
    for one, other in zip(scaled.turns, program.turns, strict=True):
        # An output of no more than it was, and a prompt that is shorter by what it held of it.
        assert max(1, one.new_tokens) == max(1, other.new_tokens)
        assert (one.kept_tokens == context) >= (other.kept_tokens == before)
        context, before = one.context_tokens, other.context_tokens


def test_outputs_by_hand() -> None:
    program = Program("p", (Turn(100, 0, 40, "ls", 2.0), Turn(150, 140, 60)))
    (scaled,) = Scale(outputs=4).apply([program])
    assert scaled.turns == (Turn(100, 0, 10, "ls", 2.0), Turn(120, 110, 15))


def test_a_tail_is_stretched_beyond_its_tools_quantile() -> None:
    """Of ls 1, 2, 3, 4, 5 s the median is 3 s: what is beyond it triples. The other tool has a median of its own."""
    gaps = [*(("ls", float(s)) for s in (5, 4, 3, 2, 1)), ("make", 100.0)]
    turns = [Turn(10, 0, 1, tool, tool_s) for tool, tool_s in gaps]
    both = Turn(10, 0, 1, "make+ls", 100.0, (ToolCall("make", 100.0), ToolCall("ls", 3.0)))
    program = Program("p", (*turns, both, Turn(10, 0, 1)))
    tail = Tail(0.5, 3.0)
    begin_s = tail.begin_s([program])
    assert begin_s == {"ls": 3.0, "make": 100.0}
    (made,) = tail.apply([program], begin_s)
    check_program(made)
    assert [turn.tool_s for turn in made.turns] == [9.0, 6.0, 3.0, 2.0, 1.0, 100.0, 100.0, 0.0]
    assert made.turns[6] == both


def test_the_longest_of_several_calls_may_become_another() -> None:
    calls = (ToolCall("a", 4.0), ToolCall("b", 3.0))
    program = Program("p", (Turn(10, 0, 1, "a+b", 4.0, calls), Turn(10, 0, 1, "b", 1.0), Turn(10, 0, 1)))
    tail = Tail(0.0, 4.0)
    (made,) = tail.apply([program], tail.begin_s([program]))
    assert made.turns[0].tools == (ToolCall("a", 4.0), ToolCall("b", 9.0))
    assert made.turns[0].tool_s == 9.0


def test_a_file_in_another_size_says_so(tmp_path: Path) -> None:
    out = tmp_path / "small.jsonl.gz"
    assert rescale_trace(find_trace("bfcl"), out, scale=Scale(4, 2), tail=Tail(0.5, 2.0), limit=20) == 20
    before = list(read_programs(find_trace("bfcl"), limit=20))
    after = list(read_programs(out))
    scaled = list(Scale(4, 2).apply(before))
    tail = Tail(0.5, 2.0)
    assert after == list(tail.apply(scaled, tail.begin_s(scaled)))
    header = read_header(out)
    assert header is not None
    assert header.derived == (
        "another size of bfcl.jsonl: token counts / 4, gaps / 2, "
        "calls beyond the 0.5 quantile of their tool's stretched 2 times",
    )


def test_what_a_whole_file_holds(tmp_path: Path) -> None:
    child = Program("p/c", (Turn(7, 0, 3),))
    program = Program("p", (Turn(100, 0, 40, "ls", 2.0), Turn(150, 140, 60)), 0.5, None, (Child(child, 0, 1),))
    write_programs(tmp_path / "t.jsonl", [program, replace(program, program_id="q", arrival_s=None, children=())])
    found = check_trace(tmp_path / "t.jsonl")
    assert (found.programs, found.children, found.turns, found.programs_with_arrival) == (2, 1, 5, 1)
    assert (found.input_tokens, found.new_tokens, found.output_tokens, found.tool_s) == (507, 227, 203, 4.0)
    assert found.header is None


def test_the_notation() -> None:
    assert parse_scale(None) == parse_scale("") == Scale()
    assert parse_scale("tokens=8, gaps=0.5") == Scale(8, 0.5)
    assert parse_scale("outputs=3") == Scale(outputs=3)
    for text, part in (
        ("8", "tokens=NUMBER"),
        ("tokens=x", "'x'"),
        ("turns=2", "'turns=2'"),
        ("gaps=0", "above 0"),
        ("gaps=2,gaps=3", "twice"),
        ("tokens=nan", "above 0"),
        ("tokens=5e-324", "above 0"),
    ):
        with pytest.raises(TraceError, match=part):
            parse_scale(text)
    assert parse_tail("quantile=0.9,stretch=3") == Tail(0.9, 3.0)
    for text, part in (
        ("", "both"),
        ("quantile=0.9", "both"),
        ("quantile=1,stretch=3", "below 1"),
        ("quantile=0.5,stretch=-1", "above 0"),
        ("quantile=0.5,stretch=inf", "above 0"),
    ):
        with pytest.raises(TraceError, match=part):
            parse_tail(text)
