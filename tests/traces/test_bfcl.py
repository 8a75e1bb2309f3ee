from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from continuum_sim.traces import (
    Program,
    TraceStats,
    bundled_bfcl,
    check_program,
    find_trace,
    generate_bfcl,
    read_programs,
    trace_stats,
    write_programs,
)
from continuum_sim.traces.generate.draws import binomial, lognormal, poisson, subset

# Continuum paper, Table 2, BFCL v4 web search: (mean, sd).
TURNS = (6.3, 2.3)
TOOL_S = (1.923, 2.133)
TOTAL_TOKENS = (93_256, 68_687)
FETCH_TAIL_SHARE = 0.525
FETCH_CALL_SHARE = 0.375


@pytest.fixture(scope="module")
def many() -> list[Program]:
    return list(generate_bfcl(20_000, np.random.default_rng(1), token_scale=1.0))


@pytest.fixture(scope="module")
def many_stats(many: list[Program]) -> TraceStats:
    return trace_stats(many)


def fetch_figures(figures: TraceStats) -> tuple[float, float]:
    calls = sum(tool.calls for tool in figures.tools)
    (fetch,) = (tool for tool in figures.tools if tool.tool == "fetch_url")
    return fetch.slowest_tenth_share, fetch.calls / calls


def test_many_programs_match_the_published_figures(many_stats: TraceStats) -> None:
    """Means within 1 %; sds within 1 % (turns), 2 % (tokens) and 5 % (tool time: the heaviest tail)."""
    turns, tool_s, tokens = (
        many_stats.turns_per_program,
        many_stats.tool_s,
        many_stats.total_tokens_per_program,
    )
    assert (turns.mean, tool_s.mean, tokens.mean) == pytest.approx((TURNS[0], TOOL_S[0], TOTAL_TOKENS[0]), rel=0.01)
    assert turns.sd == pytest.approx(TURNS[1], rel=0.01)
    assert tokens.sd == pytest.approx(TOTAL_TOKENS[1], rel=0.02)
    assert tool_s.sd == pytest.approx(TOOL_S[1], rel=0.05)
    assert fetch_figures(many_stats) == pytest.approx((FETCH_TAIL_SHARE, FETCH_CALL_SHARE), rel=0.02)


def test_the_bundled_sample_is_within_five_percent_of_every_figure() -> None:
    figures = trace_stats(read_programs(find_trace("bfcl")))
    for summary, (mean, sd), scale in (
        (figures.turns_per_program, TURNS, 1.0),
        (figures.tool_s, TOOL_S, 1.0),
        (figures.total_tokens_per_program, TOTAL_TOKENS, 0.4),
    ):
        assert (summary.mean, summary.sd) == pytest.approx((mean * scale, sd * scale), rel=0.05)
    assert fetch_figures(figures) == pytest.approx((FETCH_TAIL_SHARE, FETCH_CALL_SHARE), rel=0.05)


def test_the_bundled_file_is_what_the_generator_writes(tmp_path: Path) -> None:
    write_programs(tmp_path / "bfcl.jsonl", bundled_bfcl())
    assert (tmp_path / "bfcl.jsonl").read_bytes() == find_trace("bfcl").read_bytes()


def test_programs_obey_the_rules_and_tell_a_web_search(many: list[Program]) -> None:
    for program in many:
        check_program(program)
        calls = [turn.tool for turn in program.turns[:-1]]
        assert calls[:1] in ([], ["search"])
        assert calls.count("fetch_url") <= 3
        for before, after in zip(program.turns, program.turns[1:], strict=False):
            assert after.kept_tokens == before.context_tokens


def test_a_page_is_larger_than_a_search_result(many: list[Program]) -> None:
    added: dict[str, list[int]] = {"search": [], "fetch_url": []}
    for program in many:
        for before, after in zip(program.turns, program.turns[1:], strict=False):
            added[str(before.tool)].append(after.new_tokens)
    assert np.mean(added["search"]) == pytest.approx(1_100, rel=0.01)
    assert np.mean(added["fetch_url"]) == pytest.approx(9_950, rel=0.03)


def test_scaled_contexts_fit_128k_and_scale_is_all_that_differs(many: list[Program]) -> None:
    scaled = list(generate_bfcl(2_000, np.random.default_rng(1)))
    assert max(program.max_context_tokens for program in scaled) <= 131_072
    for small, large in zip(scaled, many, strict=False):
        assert [turn.tool for turn in small.turns] == [turn.tool for turn in large.turns]
        assert small.total_tokens == pytest.approx(0.4 * large.total_tokens, abs=2 * len(large.turns) ** 2)


def test_same_seed_same_programs_and_a_longer_run_only_adds() -> None:
    short, long = (list(generate_bfcl(n, np.random.default_rng(5))) for n in (10, 20))
    assert long[:10] == short
    assert list(generate_bfcl(10, np.random.default_rng(6))) != short


def test_bad_arguments_are_refused_at_once() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="n_programs is 0, expected at least 1"):
        generate_bfcl(0, rng)
    for scale in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"token_scale is .*, expected a number above 0, at most 1"):
            generate_bfcl(1, rng, token_scale=scale)


def test_draws_follow_their_distributions() -> None:
    rng = np.random.default_rng(3)
    n = 20_000
    logs = np.log([lognormal(rng, 2.27, 0.5) for _ in range(n)])
    assert stats.kstest(logs, stats.norm(math.log(2.27) - 0.125, 0.5).cdf).pvalue > 0.001
    for drawn, law in (
        ([poisson(rng, 5.3) for _ in range(n)], stats.poisson(5.3)),
        ([binomial(rng, 2, 0.59) for _ in range(n)], stats.binom(2, 0.59)),
    ):
        seen = np.bincount(drawn, minlength=40)[:40]
        expected = law.pmf(np.arange(40)) * n
        common = expected >= 5
        chi2 = ((seen - expected)[common] ** 2 / expected[common]).sum()
        assert stats.chi2(common.sum() - 1).sf(chi2) > 0.001
    sets = [frozenset(subset(rng, 2, 4)) for _ in range(6_000)]
    assert all(len(chosen) == 2 for chosen in sets)
    counts = np.array([sets.count(chosen) for chosen in set(sets)])
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001
    assert subset(rng, 0, 3) == set()
    assert subset(rng, 3, 3) == {0, 1, 2}
