"""Scenarios name settings and policies that exist, and lose to the flags a user gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.policies.registry import PRESETS
from continuum_sim.published import find_published
from continuum_sim.resolve import resolve_engine
from continuum_sim.run_config import RunConfig
from continuum_sim.scenarios import Scenario, find_scenario, scenarios
from continuum_sim.spec import parse_arrivals
from continuum_sim.traces import find_trace
from support.cli import cli

FEW = ("--limit", "4", "--max-turns", "5", "--json")


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_can_be_run(scenario: Scenario) -> None:
    config = RunConfig(**scenario.base)
    assert isinstance(config.trace, str)
    assert find_trace(config.trace).is_file()
    assert isinstance(config.arrivals, str)
    assert parse_arrivals(config.arrivals)
    assert isinstance(config.model, str)
    assert isinstance(config.gpu, str)
    assert resolve_engine(config, find_model(config.model), find_gpu(config.gpu)).num_gpu_blocks > 1000
    for policy in scenario.policies:
        assert cs.parse_policy(policy).name
    for key, values in scenario.grid.items():
        assert values
        if key not in ("policy", "rate"):
            assert all(replace(config, **{key: value}) for value in values)


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_says_what_is_published_and_what_is_chosen(scenario: Scenario) -> None:
    assert bool(scenario.published) == scenario.name.startswith("continuum-")
    assert scenario.choices
    for figure in scenario.figures:
        series = {point.policy for point in find_published(figure).points} - {None}
        assert series <= set(scenario.policies)
    assert set(scenario.policies) <= set(PRESETS)


def test_a_run_takes_the_scenario_s_settings(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli(capsys, "run", "--scenario", "continuum-fig16-bfcl", "--policy", "lru", *FEW)
    here = json.loads(out)
    settings = find_scenario("continuum-fig16-bfcl").base
    there = cs.run(policy="lru", limit=4, max_turns=5, **settings).summary
    assert code == 0
    assert here["jct_s"]["mean"] == there.jct_s.mean
    assert here["kv"]["blocks"] == there.kv.blocks


def test_flags_given_win_even_if_they_say_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--gpu", "a100-80", "--kv-blocks", "3000")
    _, out, _ = cli(capsys, "run", "--scenario", "continuum-fig16-bfcl", *given, *FEW)
    settings = {**find_scenario("continuum-fig16-bfcl").base, "gpu": "a100-80", "kv_blocks": 3000}
    there = cs.run(limit=4, max_turns=5, **settings).summary
    assert json.loads(out)["jct_s"]["mean"] == there.jct_s.mean


def test_a_comparison_takes_its_policies_too(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = cli(capsys, "compare", "--scenario", "continuum-fig16-bfcl", *FEW)
    assert [row["policy"] for row in json.loads(out)["policies"]][:2] == ["lru", "program-fifo"]
    _, out, _ = cli(capsys, "compare", "--scenario", "continuum-fig16-bfcl", "--policies", "lru,ttl", *FEW)
    assert len(json.loads(out)["policies"]) == 2


def test_a_file_of_one_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[base]\ntrace = "bfcl"\narrivals = "burst"\nengine = "stepwise"\n[grid]\npolicy = ["lru"]\n')
    code, out, _ = cli(capsys, "run", "--scenario", path, "--limit", "2", "--max-turns", "2", "--json")
    assert code == 0
    assert json.loads(out)["programs"] == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[base", "is not TOML"),
        ("[bse]\n", "'bse' is unexpected, expected the tables scenario, base, grid"),
        ("[base]\nmodle = 'x'\n", "unknown setting 'modle' of scenario {path}, table base, did you mean 'model'?"),
        ("[base]\nseed = 3\n", "unknown setting 'seed' of scenario {path}, table base;"),
        ("[grid]\nrates = [1]\n", "unknown setting 'rates' of scenario {path}, table grid, did you mean 'rate'?"),
        (
            "[base]\ngpu_memory_utilization = 'most'\n",
            "base.gpu_memory_utilization is 'most', expected a value like 0.9",
        ),
        ("[scenario]\nname = 'x'\n", "scenario.name is unknown"),
    ],
)
def test_a_broken_file_is_one_line(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    code, _, err = cli(capsys, "run", "--scenario", path)
    assert code == 2
    assert said.format(path=path) in err
    assert err.count("\n") == 1


def test_an_unknown_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = cli(capsys, "run", "--scenario", "continuum-fig16-swee")
    assert code == 2
    assert "did you mean 'continuum-fig16-swe'?" in err
    code, _, err = cli(capsys, "run", "--scenario", "nowhere/x.toml")
    assert code == 2
    assert "cannot be read" in err


def test_they_are_listed_with_what_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = cli(capsys, "scenarios")
    assert all(scenario.name in out for scenario in scenarios())
    _, out, _ = cli(capsys, "scenarios", "continuum-fig16-swe")
    for words in ("model = llama-3.1-8b", "Chosen by us", "program FCFS", "~1,950", "arXiv 2511.02230"):
        assert words in out
    _, out, _ = cli(capsys, "scenarios", "--json")
    assert {row["name"] for row in json.loads(out)} == {scenario.name for scenario in scenarios()}
