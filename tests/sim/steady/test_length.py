"""The length of a run: whole passes in orders drawn with the seed, cut by number, by time, or at either end."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.steady.length import Cut, RunLength, parse_cut
from continuum_sim.traces.arrivals import Burst, Closed, FromTrace, Poisson
from continuum_sim.traces.passes import passes
from continuum_sim.traces.schema import Child, Program, SharedPrefix
from support.programs import program, turn

TRACE = [program(name, turn(10, 5), at=float(place)) for place, name in enumerate("abcde")]


@given(st.integers(1, 23), st.integers(0, 9))
def test_passes_are_whole_and_names_their_own(wanted: int, seed: int) -> None:
    found = list(RunLength(programs=wanted).stream(TRACE, Poisson(1.0), seed))
    names = [one.program_id for one in found]
    assert len(set(names)) == wanted
    assert found == list(RunLength(programs=wanted).stream(TRACE, Poisson(1.0), seed))
    for number in range(-(-wanted // 5)):
        here = names[5 * number : 5 * number + 5]
        bare = [name.removesuffix(f"#{number + 1}") for name in here]
        assert len(set(bare)) == len(here)
        assert set(bare) <= set("abcde")
    assert all(one.arrival_s is None for one in found)


def test_orders_are_drawn_with_the_seed_and_differ_between_passes() -> None:
    def order(seed: int) -> list[str]:
        return [one.program_id[0] for one in RunLength(programs=40).stream(TRACE, Poisson(1.0), seed)]

    assert order(0) != order(1)
    assert len({tuple(order(0)[5 * n : 5 * n + 5]) for n in range(8)}) > 1


def test_a_copy_takes_its_sub_agents_along_and_keeps_what_it_shares() -> None:
    child = Program("child", TRACE[0].turns)
    root = Program("a", TRACE[0].turns, shared_prefix=SharedPrefix("system", 3), children=(Child(child, 0),))
    first, second = itertools.islice(passes([root], np.random.default_rng(0)), 2)
    assert first.children[0].program.program_id == "child"
    assert (second.program_id, second.children[0].program.program_id) == ("a#2", "child#2")
    assert second.shared_prefix == SharedPrefix("system", 3)


def test_names_that_look_like_copies_stay_apart() -> None:
    trace = [program(name, turn(10, 5)) for name in ("a", "a#2", "a#3")]
    names = [one.program_id for one in itertools.islice(passes(trace, np.random.default_rng(0)), 12)]
    assert len(set(names)) == 12


def test_without_a_length_the_trace_is_replayed_as_it_is() -> None:
    assert RunLength().stream(TRACE, Poisson(1.0), 0) is TRACE


def test_recorded_arrivals_stay_in_their_order() -> None:
    length = RunLength(programs=3)
    assert list(length.stream(TRACE, FromTrace(), 0)) == TRACE[:3]
    with pytest.raises(ConfigError, match="recorded arrivals of 5: leave it out, or say when programs arrive"):
        RunLength(programs=6).check(5, FromTrace())


@pytest.mark.parametrize(
    ("value", "cut"),
    [(None, Cut()), (0, Cut()), ("0", Cut()), (200, Cut(200)), ("200", Cut(200)), (" 2.5% ", Cut(share=0.025))],
)
def test_a_cut_is_a_number_or_a_share(value: str | int | None, cut: Cut) -> None:
    assert parse_cut("warmup", value) == cut


@pytest.mark.parametrize("value", ["x", "", "-1", -1, "1.5", "100%", "200%", "%", True, "1e3", "٣"])
def test_any_other_cut_is_refused(value: str | int) -> None:
    with pytest.raises(ConfigError, match="warmup is .*, expected a number of programs, or a share below 100%"):
        parse_cut("warmup", value)


@pytest.mark.parametrize(
    ("length", "arrivals", "said"),
    [
        (RunLength(programs=50, warmup=Cut(50)), Poisson(1.0), "leave none of 50 programs"),
        (RunLength(warmup=Cut(3), cooldown=Cut(2)), Poisson(1.0), "leave none of 5 programs"),
        (RunLength(duration_s=9.0), Burst(), "a burst for a duration has no end"),
        (RunLength(duration_s=1e8), Poisson(5.0), "500,000,000 programs, expected at most 10,000,000"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(length: RunLength, arrivals: Poisson | Burst, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        length.check(5, arrivals)


def test_how_many_will_come() -> None:
    assert RunLength().expected(5, Poisson(1.0)) == 5
    assert RunLength(programs=50).expected(5, Closed(2)) == 50
    assert RunLength(duration_s=30.0).expected(5, Poisson(2.0)) == 60
    assert RunLength(programs=3, duration_s=30.0).expected(5, FromTrace()) == 3


@given(st.integers(0, 1000), st.integers(1, 12))
def test_a_draw_is_of_as_many_programs_under_names_of_their_own(seed: int, number: int) -> None:
    names = [f"{name}~2" if name == "b" else name for name in "abcdefghijkl"[:number]]
    trace = [
        Program(
            name, program(name, turn(10 + place, 5)).turns, children=(Child(program(f"{name}/child", turn(9, 1)), 0),)
        )
        for place, name in enumerate(names)
    ]
    length = RunLength(programs=3 * number, drawn=True)
    drawn = list(length.distinct(trace, seed))
    assert len(drawn) == number
    names = [member.program_id for program in drawn for member in program.family()]
    assert len({*names}) == 2 * number, "sub-agents come with their programs"
    assert {name[0] for name in names} <= {program.program_id[0] for program in trace}
    assert drawn == list(length.distinct(trace, seed)), "by the seed alone"
    served = list(length.stream(drawn, Poisson(1.0), seed))
    for start in (0, number, 2 * number):
        one_pass = sorted(program.turns[0].input_tokens for program in served[start : start + number])
        assert one_pass == sorted(program.turns[0].input_tokens for program in drawn), "every pass has them all"
    assert len({program.program_id for program in served}) == 3 * number


def test_draws_differ_between_seeds_and_repeat_programs() -> None:
    length = RunLength(programs=100, drawn=True)
    draws = [[program.program_id[0] for program in length.distinct(TRACE, seed)] for seed in range(20)]
    assert len({tuple(one) for one in draws}) > 10
    assert any(len({*one}) < len(TRACE) for one in draws), "with replacement"
    assert RunLength(programs=100).distinct(TRACE, 0) is TRACE
