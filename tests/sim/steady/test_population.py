"""Which traces have too few programs, or too few that matter, for intervals about other programs."""

from __future__ import annotations

from continuum_sim.steady.population import draw_notes, work_tokens
from continuum_sim.traces.schema import Child, Program, Turn


def of(work: int, name: str = "a") -> Program:
    return Program(name, (Turn(work - 1, 0, 1),))


def test_work_is_what_is_new_in_prompts_and_output_sub_agents_included() -> None:
    child = Program("child", (Turn(7, 0, 2),))
    turns = (Turn(100, 0, 10, "grep", 1.0), Turn(130, 110, 5))
    assert work_tokens(Program("a", turns, children=(Child(child, 0),))) == 100 + 10 + 20 + 5 + 7 + 2


def test_few_programs_that_differ_are_too_few() -> None:
    alike, apart = [of(100)] * 20, [of(60), of(140)] * 10
    assert draw_notes(alike) == []
    (note,) = draw_notes(apart)  # cv 0.41: its standard error is 9 % with 20 of them, 4 % with 100
    assert note.startswith("too few distinct programs (20): ")
    assert draw_notes(apart * 5) == []
    assert len(draw_notes([of(100)])) == 1, "one says nothing of another"


def test_a_tenth_with_half_of_the_work_is_a_heavy_tail() -> None:
    light = [of(100)] * 9_000
    assert draw_notes([*light, *[of(850)] * 1_000]) == []
    (note,) = draw_notes([*light, *[of(950)] * 1_000])
    assert note.startswith("a tenth of the programs holds half of the work: intervals may cover as little as half")
