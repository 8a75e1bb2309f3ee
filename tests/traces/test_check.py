from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest

from continuum_sim.traces import Program, TraceError, Turn, check_program, truncate


def test_a_sound_program_passes(chat: Callable[..., Program]) -> None:
    check_program(chat(n_turns=1))
    check_program(chat(n_turns=7, arrival_s=0.0))


@pytest.mark.parametrize("tool_s", [math.nan, math.inf, -math.inf, 1e13, -1e-9])
def test_a_gap_is_finite_and_not_negative(tool_s: float) -> None:
    program = Program("p", (Turn(10, 0, 1, "ls", tool_s), Turn(20, 11, 1)))
    with pytest.raises(TraceError, match=r'^program "p": turns\[0\]\.tool_s is .*, expected a finite number'):
        check_program(program)


def test_turns_are_a_tuple_with_something_in_it(chat: Callable[..., Program]) -> None:
    with pytest.raises(TraceError, match="turns is an array, expected a tuple of turns"):
        check_program(replace(chat(), turns=list(chat().turns)))
    with pytest.raises(TraceError, match="turns is empty, expected at least one turn"):
        check_program(replace(chat(), turns=()))


def test_sizes_of_a_program() -> None:
    program = Program("p", (Turn(100, 0, 10, "ls", 1.0), Turn(500, 110, 20, "compact", 1.0), Turn(90, 80, 5)))
    assert program.max_context_tokens == 520
    assert program.total_tokens == 110 + 520 + 95
    assert [turn.new_tokens for turn in program.turns] == [100, 390, 10]


def test_truncating_to_nothing_is_refused(chat: Callable[..., Program]) -> None:
    with pytest.raises(ValueError, match="max_turns is 0, expected at least 1"):
        truncate(chat(), 0)


def test_an_error_crosses_process_borders_whole() -> None:
    error = TraceError("turns is missing", path="t.jsonl", line=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.detail, copy.path, copy.line) == (
        "t.jsonl:3: turns is missing",
        "turns is missing",
        "t.jsonl",
        3,
    )


def test_an_error_is_one_printable_line() -> None:
    error = TraceError("odd\nname\x1b[31m", path="dir\r/t.jsonl")
    assert str(error) == "dir\\r/t.jsonl: odd\\nname\\x1b[31m"
    assert "…" in str(TraceError("x", program_id="long" * 1000))
    assert len(str(TraceError("x", program_id="long" * 1000))) < 80
