"""Programs drawn from a fit: valid, the same for the same seed, and similar to those of the fitted trace."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continuum_sim.traces import (
    Program,
    SharedPrefix,
    TraceError,
    TraceFit,
    Turn,
    check_program,
    compare_traces,
    find_fit,
    find_trace,
    fit_trace,
    generate_programs,
    generate_trace,
    profiles,
    read_header,
    read_programs,
)
from continuum_sim.traces.fit import FitSource, fit_gaps
from continuum_sim.traces.fit.alike import intraclass_correlation
from continuum_sim.traces.fit.fit import fit_programs
from continuum_sim.traces.fit.gather import Sample
from continuum_sim.traces.generate.from_fit import draw_gap_s
from support.strategies import families

SOURCE = FitSource("made.jsonl", "0" * 64, 0, 0, 0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture(scope="module")
def swebench() -> TraceFit:
    return fit_trace(find_trace("swebench"))


@given(families(st.floats(0, 1e6), st.just(0.0)), st.integers(0, 2**32))
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_whatever_is_fitted_its_programs_are_valid(programs: list[Program], seed: int) -> None:
    fit = fit_programs(programs, SOURCE)
    tools = {turn.tool for program in programs for member in program.family() for turn in member.turns}
    for program in generate_programs(fit, 5, rng(seed)):
        check_program(program)
        assert len(program.turns) in fit.turns
        assert program.max_context_tokens <= fit.longest_context_tokens
        assert {turn.tool for turn in program.turns} <= tools


@pytest.mark.parametrize("name", ["swebench", "bfcl"])
def test_drawn_programs_are_like_their_source(name: str) -> None:
    """Turn sizes are within 0.04 of the trace in Kolmogorov-Smirnov's distance, sums over programs within 0.2.

    A hundred programs alone are 0.14 from their own distribution in one case out of twenty.
    """
    path = find_trace(name)
    drawn = generate_programs(fit_trace(path), 1000, rng(1))
    for row in compare_traces(read_programs(path), drawn):
        close = 0.04 if row.name.endswith("a turn") or row.name == "turns a program" else 0.2
        assert row.ks < close, row
        if close < 0.1:
            assert row.b.p50 == pytest.approx(row.a.p50, rel=0.15, abs=2), row
        if not row.name.startswith("gap"):
            assert row.b.mean == pytest.approx(row.a.mean, rel=0.15), row


def test_the_same_seed_gives_the_same_bytes(swebench: TraceFit, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for file, seed in zip(files, (7, 7, 8), strict=True):
        assert generate_trace(swebench, 20, seed, file) == 20
    one, same, other = (file.read_bytes() for file in files)
    assert one == same
    assert one != other
    header = read_header(files[0])
    assert header is not None
    assert header.format == "generated"
    assert "seed 7 from a fit of swebench.jsonl (100 programs, 3680 turns" in header.derived[0]


def test_fewer_programs_are_the_first_of_more(swebench: TraceFit) -> None:
    few = list(generate_programs(swebench, 3, rng(), name="p"))
    assert list(islice(generate_programs(swebench, 10**9, rng(), name="p"), 3)) == few
    assert [program.program_id for program in few] == ["p-000000", "p-000001", "p-000002"]


def test_turns_of_one_program_are_as_alike_as_in_the_trace(swebench: TraceFit) -> None:
    sample = Sample()
    for program in generate_programs(swebench, 600, rng(2)):
        sample.add(program)
    tools = sample.tools.values()
    drawn = intraclass_correlation([(tool.output_tokens, tool.output_program) for tool in tools])
    assert swebench.correlation.output_tokens > 0.01
    assert drawn == pytest.approx(swebench.correlation.output_tokens, abs=0.03)


@pytest.mark.parametrize("family", ["lognormal", "mixture", "empirical"])
def test_drawn_times_have_the_distribution_of_the_fit(family: str) -> None:
    random = np.random.default_rng(3)
    slow = random.random(2000) < 0.3
    sample = {
        "lognormal": random.lognormal(0.5, 0.8, 2000),
        "mixture": np.where(slow, random.lognormal(3, 0.3, 2000), random.lognormal(-1, 0.3, 2000)),
        "empirical": np.where(slow, 4.0, random.uniform(1, 2, 2000)),
    }[family]
    fit = fit_gaps(sample)
    assert fit.used == family
    draws = rng(4)
    again = fit_gaps([draw_gap_s(fit, draws) for _ in range(5_000)])
    assert again.mean_s == pytest.approx(fit.mean_s, rel=0.05)
    assert [again.empirical.at(level) for level in (0.1, 0.5, 0.9)] == pytest.approx(
        [fit.empirical.at(level) for level in (0.1, 0.5, 0.9)], rel=0.08
    )


def test_prefixes_are_shared_as_in_the_trace() -> None:
    programs = [
        Program(f"p{i}", (Turn(100, 0, 5),), None, SharedPrefix(f"id-{i % 4}", 40 + i % 4) if i % 2 else None)
        for i in range(40)
    ]
    drawn = list(generate_programs(fit_programs(programs, SOURCE), 2000, rng()))
    shared = [program.shared_prefix for program in drawn]
    for tokens in (41, 43):
        assert sum(p is not None and p.tokens == tokens for p in shared) == pytest.approx(500, abs=90)
    assert len({p.id for p in shared if p is not None}) == 2


def test_the_profiles_are_whole() -> None:
    assert list(profiles()) == ["bfcl", "claude-code", "openhands", "swebench"]
    for name in profiles():
        fit = find_fit(name)
        assert fit.source.about
        for program in generate_programs(fit, 10, rng()):
            check_program(program)


@pytest.mark.parametrize("name", ["swebench", "bfcl"])
def test_a_profile_is_the_fit_of_its_trace(name: str) -> None:
    bundled = find_fit(name)
    made = fit_trace(find_trace(name), about=bundled.source.about)
    assert bundled.source == made.source
    assert bundled.turns == made.turns
    for tool, fit in made.tools.items():
        theirs = bundled.tools[tool]
        assert (theirs.calls, theirs.followed_by) == (fit.calls, fit.followed_by)
        if fit.gap_s is not None and theirs.gap_s is not None:
            assert theirs.gap_s.empirical.values == pytest.approx(fit.gap_s.empirical.values, rel=1e-4)


def test_what_cannot_work_is_refused(swebench: TraceFit) -> None:
    with pytest.raises(ValueError, match="n_programs is 0"):
        generate_programs(swebench, 0, rng())
    with pytest.raises(TraceError, match='did you mean "swebench"'):
        find_fit("swebenhc")
    tight = msgspec.structs.replace(swebench, longest_context_tokens=10)
    with pytest.raises(TraceError, match="outgrow its longest_context_tokens, 10"):
        list(generate_programs(tight, 1, rng()))
