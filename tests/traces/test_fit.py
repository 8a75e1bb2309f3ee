"""A fit finds the distribution that a sample was drawn from, says how well, and survives saving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from continuum_sim.traces import Program, SharedPrefix, TraceError, TraceFit, Turn, find_trace, fit_trace, load_fit
from continuum_sim.traces.fit import FitSource, Quantiles, fit_gaps, save_fit
from continuum_sim.traces.fit.alike import intraclass_correlation
from continuum_sim.traces.fit.fit import fit_programs
from continuum_sim.traces.fit.gather import ToolSample
from continuum_sim.traces.fit.quantiles import LEVELS

SOURCE = FitSource("made.jsonl", "0" * 64, 0, 0, 0)


@pytest.fixture(scope="module")
def bfcl() -> TraceFit:
    return fit_trace(find_trace("bfcl"), about="a test")


def test_a_log_normal_is_recovered() -> None:
    sample = np.random.default_rng(1).lognormal(0.7, 0.9, 4_000)
    fit = fit_gaps(sample)
    assert fit.lognormal is not None
    # Standard errors: sigma / √n and sigma / √(2 n).
    assert fit.lognormal.mu == pytest.approx(0.7, abs=4 * 0.9 / np.sqrt(4_000))
    assert fit.lognormal.sigma == pytest.approx(0.9, abs=4 * 0.9 / np.sqrt(8_000))
    assert fit.used == "lognormal"
    frozen = stats.lognorm(s=fit.lognormal.sigma, scale=np.exp(fit.lognormal.mu))
    assert fit.lognormal.ks == pytest.approx(stats.kstest(sample, frozen.cdf).statistic, abs=1e-4)
    assert fit.lognormal.aic == pytest.approx(4 - 2 * frozen.logpdf(sample).sum(), rel=1e-5)


def test_a_mixture_is_recovered() -> None:
    rng = np.random.default_rng(2)
    fast = rng.random(20_000) < 0.7
    sample = np.where(fast, rng.lognormal(-1.5, 0.3, 20_000), rng.lognormal(2.0, 0.6, 20_000))
    fit = fit_gaps(sample)
    two = fit.mixture
    assert two is not None
    assert (two.weight, two.mu, two.sigma) == pytest.approx((0.7, -1.5, 0.3), abs=0.02)
    assert (two.slow_mu, two.slow_sigma) == pytest.approx((2.0, 0.6), abs=0.04)
    assert fit.used == "mixture"
    assert fit.lognormal is not None
    assert two.aic < fit.lognormal.aic
    parts = (
        stats.lognorm(s=two.sigma, scale=np.exp(two.mu)),
        stats.lognorm(s=two.slow_sigma, scale=np.exp(two.slow_mu)),
    )
    weights = (two.weight, 1 - two.weight)
    density = sum(weight * part.pdf(sample) for weight, part in zip(weights, parts, strict=True))
    assert two.aic == pytest.approx(10 - 2 * np.log(density).sum(), rel=1e-4)


def test_what_is_neither_is_drawn_from_its_quantiles() -> None:
    sample = np.concatenate([np.full(500, 1.0), np.random.default_rng(3).uniform(1.0, 1.2, 500), np.full(200, 5.0)])
    fit = fit_gaps(sample)
    assert fit.used == "empirical"
    # Within a hundredth of the sample by construction: quantiles are that close, jumps included.
    assert fit.empirical_ks <= 0.011


def test_calls_that_take_no_time_are_a_share_of_their_own() -> None:
    sample = np.concatenate([np.zeros(1000), np.random.default_rng(4).lognormal(0, 1, 3000)])
    fit = fit_gaps(sample)
    assert fit.zero_share == 0.25
    assert fit.lognormal is not None
    assert fit.lognormal.mu == pytest.approx(0, abs=0.1)


def test_few_or_equal_calls_have_no_curve() -> None:
    for sample in ([1.0, 2.0, 3.0], [0.5] * 100, [0.0] * 100):
        fit = fit_gaps(sample)
        assert fit.lognormal is None
        assert fit.mixture is None
        assert fit.used == "empirical"


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300), st.floats(0, 1, exclude_max=True))
def test_quantiles_agree_with_numpy_and_rise(sample: list[float], level: float) -> None:
    quantiles = Quantiles.of(sample)
    assert quantiles.values == pytest.approx(np.quantile(sample, LEVELS), rel=1e-5, abs=1e-300)
    assert quantiles.at(level) == pytest.approx(np.interp(level, LEVELS, quantiles.values), rel=1e-6, abs=1e-6)


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=60))
def test_any_times_can_be_fitted(sample: list[float]) -> None:
    fit = fit_gaps(sample)
    assert fit.calls == len(sample)
    for curve in (fit.lognormal, fit.mixture):
        assert curve is None or (0 <= curve.ks <= 1 and np.isfinite(curve.aic))


def test_the_likeness_within_programs_is_recovered() -> None:
    """Normal numbers with a third of their variance between programs have a correlation of a third."""
    rng = np.random.default_rng(5)
    tool = ToolSample()
    for number in range(600):
        centre = rng.normal(0, 1)
        for value in centre + rng.normal(0, np.sqrt(2), rng.integers(2, 20)):
            tool.new_tokens.append(np.exp(value))
            tool.new_program.append(number)
    assert intraclass_correlation([(tool.new_tokens, tool.new_program)]) == pytest.approx(1 / 3, abs=0.05)
    order = rng.permutation(len(tool.new_program))
    shuffled = type(tool.new_program)("d", np.asarray(tool.new_program)[order].tolist())
    assert intraclass_correlation([(tool.new_tokens, shuffled)]) < 0.03


def test_a_fit_by_hand() -> None:
    first = Program(
        "a",
        (
            Turn(100, 0, 10, "ls", 1.0),
            Turn(130, 110, 20, "cat", 2.0),  # keeps all 110, 20 new
            Turn(150, 145, 40, "ls", 3.0),  # 5 of 20 output tokens lost, 5 new
            Turn(90, 38, 7),  # 152 of 190 lost: cut to a fifth, 52 new
        ),
        None,
        SharedPrefix("system", 60),
    )
    second = Program("b", (Turn(80, 0, 9),), None, SharedPrefix("system", 60))
    fit = fit_programs([first, second], SOURCE)
    assert fit.turns == {1: 1, 4: 1}
    assert fit.first_tools == {"ls": 1}
    assert {name: (tool.calls, tool.followed_by) for name, tool in fit.tools.items()} == {
        "ls": (2, {"cat": 1}),
        "cat": (1, {"ls": 1}),
    }
    assert fit.tools["ls"].gap_s is None
    assert fit.rare_tools is not None
    assert fit.rare_tools.gap_s is not None
    assert fit.rare_tools.gap_s.mean_s == 2.0
    breaks = fit.breaks
    assert (breaks.output_share, breaks.cut_share) == (1 / 3, 1 / 3)
    for quantiles, value in (
        (breaks.lost_output_share, 0.25),
        (breaks.lost_output_new_tokens, 5),
        (breaks.cut_kept_share, 0.2),
        (breaks.cut_refill, 52 / 152),
        (fit.rare_tools.new_tokens, 20),
    ):
        assert quantiles is not None
        assert quantiles.at(0.5) == pytest.approx(value, rel=1e-5)
    assert [(prefix.share, prefix.tokens) for prefix in fit.shared_prefixes] == [(1.0, 60)]
    assert fit.longest_context_tokens == 190


def test_a_fit_says_what_it_was_made_of(bfcl: TraceFit) -> None:
    source = bfcl.source
    assert (source.trace, source.programs, source.turns, source.about) == ("bfcl.jsonl", 100, 611, "a test")
    assert set(bfcl.first_tools) == {"search"}
    assert bfcl.breaks.cut_share == bfcl.breaks.output_share == 0


def test_the_tools_of_bfcl_are_the_log_normals_it_was_drawn_from(bfcl: TraceFit) -> None:
    """`generate_bfcl` draws searches with sigma 0.5, mean 2.27 s, and fetches with sigma 1.344, mean 1.34 s."""
    for name, mean_s, sigma in (("search", 2.27, 0.5), ("fetch_url", 1.34, 1.344)):
        gap = bfcl.tools[name].gap_s
        assert gap is not None
        assert gap.used == "lognormal"
        assert gap.lognormal is not None
        assert gap.lognormal.sigma == pytest.approx(sigma, abs=4 * sigma / np.sqrt(2 * gap.calls))
        mu = np.log(mean_s) - sigma**2 / 2
        assert gap.lognormal.mu == pytest.approx(mu, abs=4 * sigma / np.sqrt(gap.calls))


def test_a_fit_survives_its_file(bfcl: TraceFit, tmp_path: Path) -> None:
    save_fit(bfcl, tmp_path / "fit.json")
    assert load_fit(tmp_path / "fit.json") == bfcl
    first = (tmp_path / "fit.json").read_bytes()
    save_fit(load_fit(tmp_path / "fit.json"), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == first


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("longest_context_tokens", -1, "Expected `int` >= 1"),
        ("tuns", {}, "unknown field `tuns`"),
        ("turns", {}, "turns is not programs by their number of turns"),
        ("turns", {"0": 3}, "turns is not programs by their number of turns"),
        ("first_tools", {"fetch": 1}, "first_tools names 'fetch', expected one of tools"),
        ("first_prompt_tokens", {"values": [1.0]}, "Expected `array` of length"),
        ("first_prompt_tokens", {"values": [2.0, *[1.0] * 109]}, "quantiles do not rise"),
        ("breaks", {"cut_share": 0.5}, "cut_kept_share is null"),
        ("continuum_fit", 2, "continuum_fit"),
    ],
)
def test_a_file_that_is_no_fit(bfcl: TraceFit, tmp_path: Path, place: str, value: Any, message: str) -> None:
    path = tmp_path / "fit.json"
    save_fit(bfcl, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), place: value}))
    with pytest.raises(TraceError, match=message) as raised:
        load_fit(path)
    assert str(raised.value).startswith(f"{path}: not a fit of a trace: ")
    assert "\n" not in str(raised.value)


def test_other_files_are_no_fits(tmp_path: Path) -> None:
    for content in (b"", b"[]", b"\xff", b"[" * 10_000):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(TraceError, match="not a fit of a trace"):
            load_fit(tmp_path / "x")
    with pytest.raises(TraceError, match="cannot be read"):
        load_fit(tmp_path / "none")
    with pytest.raises(TraceError, match="no program to fit"):
        fit_programs([], SOURCE)
