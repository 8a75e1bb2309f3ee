"""Bursts: which programs arrive, under which names, and that the rest of the load is the same without them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import continuum_sim as cs
from continuum_sim.errors import ConfigError
from continuum_sim.results.summary import Measured
from continuum_sim.runs.execute import serve
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steady.burst import Burst, BurstSpec, WithBurst, parse_burst
from continuum_sim.steady.length import RunLength
from continuum_sim.traces.arrivals import Poisson
from continuum_sim.traces.schema import Child, Program
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord
from support.cli import refused
from support.programs import program, turn
from support.steptimes import constant

TRACE = [program(name, turn(400, 20, gap=1.0), turn(500, 20), at=None) for name in "abcde"]
ENGINE = {"kv_blocks": 400, "max_model_len": 2000, "step_time": constant(0.05)}


class Kept:
    """A recorder that keeps only programs."""

    def __init__(self) -> None:
        self.programs: list[ProgramRecord] = []

    def turn(self, record: TurnRecord) -> None: ...

    def program(self, record: ProgramRecord) -> None:
        self.programs.append(record)

    def timeline(self, record: TimelineRecord) -> None: ...


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        (100, BurstSpec(100, 0.0)),
        ("100", BurstSpec(100, 0.0)),
        (" 7@3600.5 ", BurstSpec(7, 3600.5)),
        ("1000000@1e9", BurstSpec(10**6, 1e9)),
        (None, None),
    ],
)
def test_a_burst_is_a_number_and_a_time(value: str | int | None, spec: BurstSpec | None) -> None:
    assert parse_burst(value) == spec


@pytest.mark.parametrize("value", ["0", 0, -1, True, "", "x", "1.5", "9@", "9@-1", "9@inf", "9@nan", "9@.", "1000001"])
def test_any_other_burst_is_refused(value: str | int) -> None:
    with pytest.raises(ConfigError, match=r"burst is .*, expected 1 to 1,000,000 programs, and when they come"):
        parse_burst(value)


@given(st.lists(st.text("a+#1", min_size=1, max_size=4), min_size=1, max_size=6, unique=True), st.integers(1, 20))
def test_its_programs_are_whole_passes_and_known_by_their_names(names: list[str], wanted: int) -> None:
    inner = Program("b+#", TRACE[0].turns)
    trace = [Program(name, TRACE[0].turns, children=(Child(inner, 0),) if name == "a" else ()) for name in names]
    burst = Burst.on(trace, BurstSpec(wanted, 0.0))
    found = list(burst.programs(trace, 3))
    family = [member.program_id for one in found for member in one.family()]
    assert len(found) == wanted
    assert all(map(burst.owns, family))
    rest = [*trace, *itertools.islice(RunLength(programs=30).stream(trace, Poisson(1.0), 3), 30)]
    assert not any(burst.owns(member.program_id) for one in rest for member in one.family())
    roots = [one.program_id for one in found]
    assert len(set(roots)) == wanted
    for number in range(-(-wanted // len(trace))):
        here = roots[len(trace) * number : len(trace) * (number + 1)]
        bare = {name.removesuffix(f"{burst.mark}{number + 1}") for name in here}
        assert len(bare) == len(here)
        assert bare <= set(names)
    assert found == list(burst.programs(trace, 3))


def test_it_is_merged_in_order_of_time() -> None:
    timed = list(WithBurst(Poisson(1.0), 2.5, TRACE[:2]).times(TRACE, np.random.default_rng(0)))
    alone = list(Poisson(1.0).times(TRACE, np.random.default_rng(0)))
    assert [at for at, _ in timed] == sorted(at for at, _ in timed)
    assert [at for at, _ in timed].count(2.5) == 2
    assert [pair for pair in timed if pair[0] != 2.5] == alone
    endless = WithBurst(Poisson(1.0), 1e9, TRACE[:1]).times(itertools.repeat(TRACE[0]), np.random.default_rng(0))
    assert len(list(itertools.islice(endless, 99))) == 99


@pytest.mark.parametrize(
    "load",
    [
        {"rate": 0.5, "programs": 40},
        {"rate": 0.5, "duration": 60.0},
        {"rate": 0.5},
        {"arrivals": "trace"},
    ],
)
def test_the_rest_of_the_load_is_the_same_without(load: dict[str, object]) -> None:
    trace = [replace(one, arrival_s=float(place)) for place, one in enumerate(TRACE)]
    run = resolve(RunConfig(trace=trace, policy="ttl", seed=4, burst="7@2", **load, **ENGINE))  # type: ignore[arg-type]
    assert run.burst is not None
    recorders = [Kept(), Kept(), Kept()]
    for recorder, burst in zip(recorders, (True, False, True), strict=True):
        serve(run, recorder, burst=burst)
    with_it, without, again = (sorted((p.arrival_s, p.program) for p in kept.programs) for kept in recorders)
    assert [one for one in with_it if not run.burst.owns(one[1])] == without
    assert [at for at, name in with_it if run.burst.owns(name)] == [2.0] * 7
    assert again == with_it
    assert recorders[2].programs == recorders[0].programs  # a policy's memory does not carry over


def test_a_burst_counts_and_a_load_from_before_does_not() -> None:
    burst = cs.run(trace=TRACE, policy="lru", programs=40, rate=0.5, warmup=0, burst=30, **ENGINE)
    assert burst.summary.programs == 70
    assert not isinstance(burst.summary.measured, Measured)
    loaded = cs.run(trace=TRACE, policy="lru", programs=40, rate=0.5, start="loaded", **ENGINE)
    measured = loaded.summary.measured
    assert isinstance(measured, Measured)
    assert (loaded.summary.programs, measured.programs) == (140, 40)
    own = ~loaded.programs.program.str.contains("+", regex=False)
    assert loaded.summary.jct_s.mean == pytest.approx(loaded.programs.jct_s[own].mean())
    turns = loaded.turns[~loaded.turns.program.str.contains("+", regex=False)]
    turns = turns[turns.arrival_s <= measured.to_s]
    assert measured.turns == len(turns)
    assert loaded.summary.ttft_s.mean == pytest.approx((turns.first_token_s - turns.arrival_s).mean())


def test_a_load_from_before_does_not_count_though_others_come_with_it() -> None:
    trace = [replace(one, arrival_s=0.0) for one in TRACE]
    compared = cs.compare(["lru"], [0], trace=trace, arrivals="trace", start="loaded", **ENGINE)
    assert compared.rows[0].programs == 5
    assert compared.rows[0].jct_mean_s == pytest.approx(compared.summaries[0].jct_s.mean)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--burst", "9@"), "burst is '9@', expected 1 to 1,000,000 programs"),
        (("--burst", "9", "--arrivals", "closed:workers=2"), "burst 9@0 comes on top of an open load, not of closed"),
        (("--start", "loaded", "--arrivals", "burst"), "start loaded comes on top of an open load, not of a burst"),
        (("--burst", "9", "--start", "loaded"), "start loaded already is a burst at 0 s, beside burst 9"),
        (("--burst", "9@7", "--duration", "6"), "burst 9@7 comes after the duration of 6 s"),
    ],
)
def test_a_burst_that_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert said in refused(capsys, "run", "--policy", "lru", "--limit", "3", *flags)
