"""Scaled traces: valid, of the same shape, with sums that keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.traces import check_program, find_trace, read_programs
from continuum_sim.traces.schema import Program, SharedPrefix, Turn
from continuum_sim.validate.scale import Scale, parse_scale


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


def test_the_notation() -> None:
    assert parse_scale(None) == parse_scale("") == Scale()
    assert parse_scale("tokens=8, gaps=0.5") == Scale(8, 0.5)
    for text, part in (("8", "tokens=NUMBER"), ("tokens=x", "'x'"), ("turns=2", "'turns=2'"), ("gaps=0", "above 0")):
        with pytest.raises(ConfigError, match=part):
            parse_scale(text)
