"""More and shorter turns: what is repeated, what is scaled, and that the result is a valid trace."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.traces import (
    Program,
    SharedPrefix,
    Turn,
    check_program,
    find_trace,
    read_programs,
    repeat_turns,
)
from support.strategies import families

TWO = Program(
    "a",
    (Turn(1000, 0, 200, "grep", 3.0), Turn(1500, 1100, 100)),
    shared_prefix=SharedPrefix("system", 400),
)


def test_twice_the_turns_have_half_the_tokens_each() -> None:
    made = repeat_turns(TWO, 2)
    assert made.turns == (
        Turn(500, 0, 100, "grep", 3.0),
        Turn(750, 550, 50, "grep", 3.0),  # drops 50 of 600: half as much; calls what the first calls
        Turn(1300, 800, 100, "grep", 3.0),  # a further round starts from the whole context
        Turn(1550, 1350, 50),
    )
    assert made.shared_prefix == SharedPrefix("system", 200)


def test_once_is_the_program_itself() -> None:
    assert repeat_turns(TWO, 1) is TWO


def test_a_program_of_one_turn_has_nothing_to_repeat() -> None:
    one = Program("a", (Turn(1000, 0, 200),))
    assert repeat_turns(one, 3) == one


def test_fewer_turns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"repeat_turns is 0\.5, expected 1 or more"):
        repeat_turns(TWO, 0.5)


@pytest.mark.parametrize("times", [1.9, 4.6])
def test_agents_end_with_as_many_tokens(times: float) -> None:
    for program in read_programs(find_trace("swebench"), limit=25):
        made = repeat_turns(program, times)
        check_program(made)
        assert len(made.turns) == round(times * len(program.turns))
        assert made.turns[-1].context_tokens == pytest.approx(program.turns[-1].context_tokens, rel=0.25)


@settings(max_examples=20)
@given(trace=families(st.floats(0, 5), st.floats(0, 3)), times=st.floats(1, 9))
def test_a_repeated_program_obeys_the_rules(trace: list[Program], times: float) -> None:
    for program in trace:
        made = repeat_turns(program, times)
        check_program(made)
        assert {turn.calls for turn in made.turns} <= {turn.calls for turn in program.turns}
        assert made.children == program.children
