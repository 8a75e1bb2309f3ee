"""Recipes: programs that match published figures, as fits match a trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from continuum_sim.published import find_published
from continuum_sim.traces import (
    Recipe,
    TraceError,
    check_program,
    find_fit,
    find_profile,
    generate_swe,
    generate_trace,
    read_header,
    read_programs,
    recipes,
    trace_stats,
)

SERIES = {"continuum-swe": "SWE-Bench", "continuum-bfcl": "BFCL"}
# Tolerances of means, and of sds, which rare long calls and programs dominate.
CLOSE = {"mean": 0.02, "sd": 0.08}


def published(series: str) -> dict[str, float]:
    points = find_published("table02-workloads").points
    return {point.quantity: point.value for point in points if point.series == series}


def test_every_recipe_is_tested() -> None:
    assert set(recipes()) == set(SERIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SERIES)
def test_many_programs_have_the_published_figures(tmp_path: Path, name: str) -> None:
    generate_trace(recipes()[name], 20_000, 0, tmp_path / "t.jsonl")
    stats = trace_stats(read_programs(tmp_path / "t.jsonl"))
    figures = published(SERIES[name])
    for prefix, suffix, sample in (
        ("turns", "", stats.turns_per_program),
        ("tool", "_s", stats.tool_s),
        ("total_tokens", "", stats.total_tokens_per_program),
    ):
        for moment, close in CLOSE.items():
            assert getattr(sample, moment) == pytest.approx(figures[f"{prefix}_{moment}{suffix}"], rel=close)


@pytest.mark.slow
def test_the_slowest_tenth_of_cd_calls_takes_nearly_all_its_time() -> None:
    programs = generate_swe(20_000, np.random.Generator(np.random.PCG64(0)))
    (cd,) = (tool for tool in trace_stats(programs).tools if tool.tool == "cd")
    assert cd.slowest_tenth_share == pytest.approx(0.941, abs=0.005)


@pytest.mark.parametrize("name", SERIES)
def test_a_recipe_becomes_a_trace(tmp_path: Path, name: str) -> None:
    recipe = find_profile(name)
    assert isinstance(recipe, Recipe)
    for path, count, seed in (("a", 20, 3), ("b", 20, 3), ("c", 30, 3), ("d", 20, 4)):
        assert generate_trace(recipe, count, seed, tmp_path / path, name="x") == count
    a, b, c, d = (list(read_programs(tmp_path / path)) for path in "abcd")
    assert a == b == c[:20] != d
    assert [program.program_id for program in a[:2]] == ["x-000000", "x-000001"]
    for program in a:
        check_program(program)
    header = read_header(tmp_path / "a")
    assert header is not None
    assert "Table 2 of the Continuum paper" in header.derived[0]


def test_hidden_reasoning_breaks_the_prefix() -> None:
    for program in generate_swe(20, np.random.Generator(np.random.PCG64(1))):
        for before, turn in zip(program.turns, program.turns[1:], strict=False):
            assert turn.kept_tokens == before.input_tokens < turn.input_tokens


def test_a_recipe_is_no_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TraceError, match="continuum-swe is drawn from published figures: there is no fit of it"):
        find_fit("continuum-swe")
    with pytest.raises(ValueError, match="n_programs is 0"):
        generate_swe(0, np.random.default_rng(0))
    # As everywhere, a local file of that name takes precedence.
    monkeypatch.chdir(tmp_path)
    Path("continuum-swe").write_text("{}")
    with pytest.raises(TraceError, match="not a fit of a trace"):
        find_profile("continuum-swe")
