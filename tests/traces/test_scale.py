"""Scaled traces: valid, of the same shape, with correct sums."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
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
def programs(draw: st.DrawFn, depth: int = 0) -> Program:
    """Turns that keep all, part or none of the context and add nothing or much; parallel tools; sub-agents."""
    turns: list[Turn] = []
    context = 0
    sizes = draw(st.sampled_from([1, 3, 500]))
    count = draw(st.integers(1, 8))
    for index in range(count):
        kept = draw(st.sampled_from([context, draw(st.integers(0, context))])) if index else 0
        new = draw(st.integers(0 if kept else 1, sizes))
        output = draw(st.integers(1, sizes))
        turn = Turn(kept + new, kept, output)
        if index < count - 1:
            calls = draw(st.lists(st.builds(ToolCall, st.sampled_from(["ls", "make"]), st.floats(0, 99)), max_size=3))
            longest_s = max([call.tool_s for call in calls], default=draw(st.floats(0, 99)))
            turn = replace(turn, tool="bash", tool_s=longest_s, tools=tuple(calls))
        turns.append(turn)
        context = kept + new + output
    prefix = draw(st.none() | st.integers(1, turns[0].input_tokens).map(lambda tokens: SharedPrefix("system", tokens)))
    if depth or draw(st.booleans()):
        return Program("child" if depth else "p", tuple(turns), None if depth else 1.5, prefix)
    child = Child(draw(programs(1)), draw(st.integers(0, count - 1)))
    return Program("p", tuple(turns), 1.5, prefix, (child,))


def one_scaled(scale: Scale, program: Program) -> list[tuple[Program, Program]]:
    """Return each member of a family before and after; both valid and of the same shape."""
    (scaled,) = scale.apply([program])
    check_program(scaled)
    pairs = list(zip(program.family(), scaled.family(), strict=True))
    for was, now in pairs:
        assert (now.program_id, now.arrival_s) == (was.program_id, was.arrival_s)
        assert [turn.tool for turn in now.turns] == [turn.tool for turn in was.turns]
        assert [(child.after_turn, child.join_turn) for child in now.children] == [
            (child.after_turn, child.join_turn) for child in was.children
        ]
        context = before = 0
        for one, other in zip(now.turns, was.turns, strict=True):
            assert (one.kept_tokens == context) >= (other.kept_tokens == before)
            context, before = one.context_tokens, other.context_tokens
    return pairs


def counts(program: Program) -> list[tuple[int, int, int]]:
    return [(turn.input_tokens, turn.kept_tokens, turn.output_tokens) for turn in program.turns]


def times(program: Program) -> list[list[float]]:
    return [[turn.tool_s, *(call.tool_s for call in turn.tools)] for turn in program.turns]


@settings(max_examples=25)
@given(programs(), st.floats(0.3, 500))
def test_tokens_divide_every_count_and_nothing_else(program: Program, tokens: float) -> None:
    for was, now in one_scaled(Scale(tokens), program):
        assert times(now) == times(was)
        for index, (one, other) in enumerate(zip(now.turns, was.turns, strict=True)):
            # Sums are preserved: a context differs by rounding and its turns' least sizes, never by more.
            assert abs(one.context_tokens - other.context_tokens / tokens) <= 1 + 2 * (index + 1)
            for count, before in ((one.new_tokens, other.new_tokens), (one.output_tokens, other.output_tokens)):
                assert (count == 0) == (before == 0)
                assert abs(count - before / tokens) <= 2


@settings(max_examples=25)
@given(programs(), st.floats(0.01, 100))
def test_gaps_divide_times_and_nothing_else(program: Program, gaps: float) -> None:
    for was, now in one_scaled(Scale(gaps=gaps), program):
        assert (counts(now), now.shared_prefix) == (counts(was), was.shared_prefix)
        assert times(now) == [[time_s / gaps for time_s in row] for row in times(was)]


@settings(max_examples=25)
@given(programs(), st.floats(0.1, 50))
def test_outputs_alone_can_be_divided(program: Program, outputs: float) -> None:
    for was, now in one_scaled(Scale(outputs=outputs), program):
        assert (times(now), now.shared_prefix) == (times(was), was.shared_prefix)
        assert [turn.new_tokens for turn in now.turns] == [turn.new_tokens for turn in was.turns]
        made = [turn.output_tokens for turn in now.turns]
        total = sum(turn.output_tokens for turn in was.turns) / outputs
        assert abs(sum(made) - total) <= 1 + len(made)
        if outputs > 1:
            assert all(one <= turn.output_tokens for one, turn in zip(made, was.turns, strict=True))
        # Whose output each token of a context belongs to (-1: a prompt), and how much of each a prompt kept.
        context: list[int] = []
        for index, (one, other) in enumerate(zip(now.turns, was.turns, strict=True)):
            held = Counter(context[: other.kept_tokens])
            least = most = held.pop(-1, 0)
            for owner, tokens in held.items():
                cut = tokens < was.turns[owner].output_tokens
                least += 0 if cut else made[owner]
                most += made[owner]
            assert least <= one.kept_tokens <= most
            context = [*context[: other.kept_tokens], *[-1] * other.new_tokens, *[index] * other.output_tokens]


@settings(max_examples=25)
@given(programs(), st.floats(0.3, 50), st.floats(0.01, 100), st.floats(0.3, 50), st.floats(0, 0.99), st.floats(0, 9))
def test_settings_together_are_one_after_the_other(
    program: Program, tokens: float, gaps: float, outputs: float, quantile: float, stretch: float
) -> None:
    scaled = one_scaled(Scale(tokens, gaps, outputs), program)[0][1]
    (apart,) = Scale(gaps=gaps).apply(Scale(tokens).apply(Scale(outputs=outputs).apply([program])))
    assert scaled == apart
    tail = Tail(quantile, max(stretch, 0.001))
    (stretched,) = tail.apply([scaled], tail.begin_s([scaled]))
    check_program(stretched)
    assert [counts(member) for member in stretched.family()] == [counts(member) for member in scaled.family()]


def test_a_large_prompt_does_not_pay_for_many_small_turns() -> None:
    small = [Turn(2 * index + 1, 2 * index, 1, "ls") for index in range(100)]
    (scaled,) = Scale(8).apply([Program("p", (*small, Turn(1200, 200, 1)))])
    assert scaled.turns[-1].new_tokens == 123


def test_a_trace_is_not_enlarged_beyond_what_it_may_hold() -> None:
    program = Program("p", (Turn(2**40, 0, 1, "ls", 1e6), Turn(2**41, 0, 1)))
    for scale, part in ((Scale(1e-9), "input_tokens"), (Scale(gaps=1e-9), "tool_s")):
        with pytest.raises(TraceError, match=rf"program \"p\": turns\[0\].{part} is .*enlarge it less"):
            list(scale.apply([program]))


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


def test_outputs_by_hand() -> None:
    program = Program("p", (Turn(100, 0, 40, "ls", 2.0), Turn(150, 140, 60)))
    (scaled,) = Scale(outputs=4).apply([program])
    assert scaled.turns == (Turn(100, 0, 10, "ls", 2.0), Turn(120, 110, 15))


def test_a_prompt_that_dropped_an_output_loses_nothing() -> None:
    """Hidden reasoning: the second prompt keeps the first alone, the third 20 of 60 tokens of the second's output."""
    program = Program("p", (Turn(100, 0, 40, "ls", 2.0), Turn(150, 100, 60, "ls"), Turn(170, 170, 8)))
    (scaled,) = Scale(outputs=4).apply([program])
    assert scaled.turns == (Turn(100, 0, 10, "ls", 2.0), Turn(150, 100, 15, "ls"), Turn(155, 155, 2))


def test_a_tail_is_stretched_beyond_its_tools_quantile() -> None:
    """Of ls 1, 2, 3, 4, 5 s the median is 3 s: the part beyond it triples. The other tool has its own median."""
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
