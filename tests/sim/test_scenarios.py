"""Scenarios name settings and policies that exist, and flags override them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.policies.registry import PRESETS
from continuum_sim.published import find_published
from continuum_sim.scenarios import Scenario, find_scenario, scenarios
from continuum_sim.setup.notation import parse_arrivals
from continuum_sim.setup.resolve import resolve_engine
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.traces import find_trace
from support.cli import cli, printed, refused

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


def own(tmp_path: Path, grid: str, base: str = 'arrivals = "poisson:rate=1"') -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(f"[base]\nkv_blocks = 1300\n{base}\n[grid]\n{grid}\n")
    return path


@pytest.mark.parametrize(
    ("grid", "flags", "seeds"),
    [('seed = "0-1"', (), [0, 1]), ("seed = [3]", (), [3]), ('seed = "0-1"', ("--seeds", "5"), [5])],
)
def test_a_comparison_takes_its_seeds(
    grid: str, flags: tuple[str, ...], seeds: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own(tmp_path, f'policy = "lru,ttl"\n{grid}')
    code, out, err = cli(capsys, "compare", "--scenario", path, *FEW, *flags)
    assert (code, err) == (0, "")
    assert [(run["policy"], run["seed"]) for run in json.loads(out)["runs"]] == [
        (policy, seed) for policy in ("lru", "ttl") for seed in seeds
    ]


def test_a_run_takes_an_axis_of_one_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own(tmp_path, 'policy = ["program-fifo"]\nseed = 3\nrate = [2]\nkv_blocks = [1400]')
    code, out, err = cli(capsys, "run", "--scenario", path, *FEW)
    here = json.loads(out)
    assert code == 0
    assert (here["policy"], here["seed"], here["arrivals"]) == ("program-fifo", 3, "poisson:rate=2")
    assert here["kv"]["blocks"] == 1400
    assert "mine.toml" not in err
    _, out, _ = cli(capsys, "run", "--scenario", path, *FEW, "--policy", "lru", "--seed", "0", "--kv-blocks", "1500")
    here = json.loads(out)
    assert (here["policy"], here["seed"], here["kv"]["blocks"]) == ("lru", 0, 1500)


@pytest.mark.parametrize(
    ("command", "grid", "said"),
    [
        ("run", 'policy = ["lru", "program-fifo"]', "varies policy (lru, program-fifo): choose one with --policy"),
        ("run", 'seed = "4-6"', "varies seed (4, 5, 6): choose one with --seed"),
        ("compare", "rate = [1, 2]", "varies rate (1, 2): choose one with --rate"),
        ("compare", "max_num_seqs = [8, 16]", "varies max_num_seqs (8, 16): choose one with --max-num-seqs"),
    ],
)
def test_an_axis_that_a_command_cannot_run_is_refused(
    command: str, grid: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = refused(capsys, command, "--scenario", own(tmp_path, grid, base=""), *FEW)
    assert said in err
    assert "`sweep --scenario" in err


def test_an_axis_with_a_value_in_base_is_run_there_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own(tmp_path, 'policy = ["lru", "ttl"]\nrate = [1, 2]\nkv_blocks = [1300, 1400]')
    code, out, err = cli(capsys, "compare", "--scenario", path, *FEW)
    assert code == 0
    assert {run["arrivals"] for run in json.loads(out)["runs"]} == {"poisson:rate=1"}
    assert "varies rate (1, 2); this is poisson:rate=1" in err
    assert "varies kv_blocks (1300, 1400); this is 1300" in err
    _, _, err = cli(capsys, "compare", "--scenario", path, *FEW, "--arrivals", "burst", "--kv-blocks", "1500")
    assert err == ""


def test_a_search_takes_seeds_and_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    path = own(tmp_path, 'seed = "7-8"\nrate = [2]')
    few = ("--trials", "1", "--holdout", "9", "--jobs", "1", *FEW)
    code, out, err = cli(capsys, "sweep", "tune", "ttl-static", "--scenario", path, *few)
    assert code == 0, err
    assert json.loads(out)["tuning_seeds"] == [7, 8]


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


def test_a_rate_in_base_is_short_for_arrivals(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[base]\nrate = 0.5\nlimit = 3\nmax_turns = 2\n")
    shown = json.loads(printed(capsys, "run", "--config", path, "--policy", "lru", "--json"))
    assert (shown["arrivals"], shown["programs"]) == ("poisson:rate=0.5", 3)
    over = json.loads(printed(capsys, "run", "--config", path, "--policy", "lru", "--rate", "2", "--json"))
    assert over["arrivals"] == "poisson:rate=2"
    path.write_text('[base]\nrate = "fast"\n')
    assert "base.rate is 'fast', expected a number of programs per second" in refused(capsys, "run", "--config", path)
    path.write_text('[base]\nrate = 1\narrivals = "burst"\n')
    assert "base.rate 1 and arrivals burst both say" in refused(capsys, "run", "--config", path)


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_what_is_printed_of_it_has_no_escapes(capsys: pytest.CaptureFixture[str], scenario: Scenario) -> None:
    assert "\\" not in printed(capsys, "scenarios", scenario.name)
