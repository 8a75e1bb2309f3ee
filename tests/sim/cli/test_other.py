"""`compare`, `policies`, `trace` and the top of the command line, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.build import build_name
from continuum_sim.policies import PRESETS
from continuum_sim.results.numbers import count, percent, seconds, signed
from continuum_sim.setup.seeds import parse_seeds
from continuum_sim.vllm_defaults import MIRRORED_VLLM
from support.cli import printed, refused

FEW = ("--limit", "8", "--max-turns", "6", "--arrivals", "poisson:rate=2", "--kv-blocks", "1300")


def row(table: str, *start: str) -> list[str]:
    """Return the cells of the line that starts with these words."""
    lines = [line.split() for line in table.splitlines()]
    return next(line for line in lines if line[: len(start)] == list(start))


def test_compare_prints_each_policy_and_its_difference(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "compare", "--policies", "fcfs,lru,ttl-static:ttl=2.5", "--seeds", "0-1", *FEW)
    assert "lru                 too short to tell: 8 programs, and a verdict takes 200 or more" in out
    out = out.partition("\n\nJCT, ")[2]
    result = cs.compare(
        ["fcfs", "lru", "ttl-static:ttl=2.5"], [0, 1], limit=8, max_turns=6, arrivals="poisson:rate=2", kv_blocks=1300
    )
    for policy in result.policies:
        assert row(out, policy)[1] == seconds(result.table.loc[policy, "jct_mean_s"])
    mean = next(d for d in result.paired if (d.policy, d.metric) == ("lru", "mean"))
    cells = row(out, "lru", "mean")
    assert cells[2] == signed(mean.difference_s)
    assert " ".join(cells[-3:]) == mean.verdict == "too few seeds"
    assert f"{mean.ratio:.3f}" in cells
    assert "Intervals (95 %): these programs, other arrivals; 2 runs replay the same programs" in out


def test_compare_marks_what_makes_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "compare", "--policies", "lru,ttl", "--limit", "3", "--arrivals", "uniform:rate=0.001")
    assert "seeds 0-4" in out
    assert row(out, "ttl", "mean")[-1] == "equal"
    said = refused(capsys, "compare", "--policies", "lru,ttl", "--min-effect", "10")
    assert "expected a share below 1, as in 1% or 0.01" in said
    assert "hardly a computed token was lost in this run" in out


def test_compare_json_and_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = (
        "compare",
        "--policies",
        "lru,ttl",
        *FEW,
        "--baseline",
        "ttl",
        "--seeds",
        "0",
        "--json",
        "--out",
        tmp_path / "cmp",
    )
    text = printed(capsys, *arguments)
    assert text == (tmp_path / "cmp" / "comparison.json").read_text()
    comparison = json.loads(text)
    assert comparison["baseline"] == "ttl"
    assert [d["policy"] for d in comparison["differences"]] == ["lru"] * 5
    assert [run["policy"] for run in comparison["runs"]] == ["lru", "ttl"]
    assert cs.load_run(tmp_path / "cmp" / "runs" / "ttl-seed0").summary.policy == "ttl"


def test_one_policy_is_a_comparison_without_differences(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "compare", "--policies", "lru", *FEW)
    assert "against" not in out


def test_policies_lists_every_preset_with_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "policies")
    listed = json.loads(printed(capsys, "policies", "--json"))
    assert {policy["name"] for policy in listed["policies"]} == set(PRESETS)
    for policy in listed["policies"]:
        assert policy["name"] in text
        assert policy["rule"]
        assert policy["source"]
    static = next(policy for policy in listed["policies"] if policy["name"] == "ttl-static")
    assert {
        "name": "ttl",
        "type": "float",
        "default": 2.0,
        "help": "seconds every pin lasts; 0 pins nothing",
    } in static["parameters"]
    assert set(listed["planes"]) == {"order", "retention", "admission", "routing"}
    assert all(rule["rule"] for rules in listed["planes"].values() for rule in rules)
    assert "retention=ttl-static" in text


def test_trace_list_and_stats(capsys: pytest.CaptureFixture[str]) -> None:
    assert row(printed(capsys, "trace", "list"), "swebench.jsonl")[1:3] == ["100", "3,680"]
    listed = json.loads(printed(capsys, "trace", "list", "--json"))
    assert {"bfcl.jsonl", "swebench.jsonl"} <= {entry["name"] for entry in listed}
    text = printed(capsys, "trace", "stats", "swebench")
    assert "swebench.jsonl: 100 programs, 3,680 turns" in text
    assert row(text, "turns", "a", "program")[3] == "36.8"
    stats = json.loads(printed(capsys, "trace", "stats", "swebench", "--limit", "2", "--max-turns", "3", "--json"))
    assert (stats["programs"], stats["turns"]) == (2, 6)


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        printed(capsys, "--version")
        == f"continuum-sim {version('continuum-sim')} ({build_name()}), mirrors vLLM {MIRRORED_VLLM}\n"
    )
    assert cs.__version__ == version("continuum-sim")
    for arguments in ([], ["--help"], ["trace"]):
        assert "Usage: continuum-sim" in printed(capsys, *arguments)


def test_module_and_script_are_the_same_program() -> None:
    script = Path(sys.executable).with_name("continuum-sim")
    commands = [[sys.executable, "-m", "continuum_sim"]] + ([[str(script)]] if script.exists() else [])
    for command in commands:
        out = subprocess.check_output([*command, "--version"], text=True)
        assert out == f"continuum-sim {version('continuum-sim')} ({build_name()}), mirrors vLLM {MIRRORED_VLLM}\n"


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", [0]), ("3,1,2", [3, 1, 2]), ("0-3", [0, 1, 2, 3]), ("7, 1-2", [7, 1, 2])]
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "2-1", "1.5", "0-", "٣"])
def test_what_is_no_list_of_seeds(text: str) -> None:
    with pytest.raises(cs.ConfigError, match="as in 0,1,2 or 0-9"):
        parse_seeds(text)


def test_numbers_have_three_figures() -> None:
    assert [seconds(x) for x in (0, 1e-6, 0.01234, 0.1234, 1.234, 12.34, 123.4, 12345.6)] == [
        "0",
        "0",
        "0.0123",
        "0.123",
        "1.23",
        "12.3",
        "123.4",
        "12,346",
    ]
    assert [signed(x) for x in (1.5, -1.5, 0.0, 1e-9, -1e-9)] == ["+1.50", "−1.50", "0", "0", "0"]
    assert [count(x) for x in (7, 1234, 12345, 1_234_567, 12_345_678, 2e9)] == [
        "7",
        "1,234",
        "12.3 k",
        "1.23 M",
        "12.3 M",
        "2.00 G",
    ]
    assert [percent(x) for x in (0, 0.005, 0.0994, 0.0996, 0.5, 1)] == [
        "0 %",
        "0.5 %",
        "9.9 %",
        "10 %",
        "50 %",
        "100 %",
    ]


@pytest.mark.parametrize("command", ["compare", "sweep"])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--policy", "has no --policy: it takes a list of policies, --policies lru,ttl"),
        ("--seed", "has no --seed: it takes a list of seeds, --seeds 0-4"),
    ],
)
def test_commands_for_several_name_the_option_for_several(
    command: str, option: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, command, option, "1")


def test_short_words_mean_what_the_long_ones_do(capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--limit", "2", "--max-turns", "2")
    long = printed(capsys, "run", *few, "--arrivals", "poisson:rate=0.5", "--tensor-parallel-size", "2")
    setting = long.partition("\n\n")[0]
    assert "2 × A100-80" in setting
    for tp in ("--tp", "-tp"):
        assert printed(capsys, "run", *few, "--rate", "0.5", tp, "2").startswith(setting)
    assert printed(capsys, "run", "-h") == printed(capsys, "run", "--help")
    for group in ((), ("trace",), ("trace", "stats"), ("sweep", "tune"), ("validate",)):
        assert "Usage" in printed(capsys, *group, "-h")


def test_a_file_of_settings_has_two_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[base]\narrivals = "gamma:rate=1,cv=2"\nlimit = 3\nmax_turns = 2\n')
    assert "arrivals gamma:rate=1,cv=2" in printed(capsys, "run", "--config", path)
    assert "arrivals gamma:rate=2,cv=2" in printed(capsys, "run", "--config", path, "--rate", "2")
    path.write_text('[base]\narrivals = "burst"\nlimit = 3\nmax_turns = 2\n')
    assert "arrivals poisson:rate=2" in printed(capsys, "run", "--config", path, "--rate", "2")


def test_rate_is_short_for_poisson_arrivals_in_the_library_too() -> None:
    assert cs.RunConfig(rate=2) == cs.RunConfig(arrivals="poisson:rate=2.0")
    assert replace(cs.RunConfig(rate=2), seed=1).arrivals == "poisson:rate=2.0"
    with pytest.raises(cs.ConfigError, match="rate 2 and arrivals burst both say when programs arrive"):
        cs.RunConfig(rate=2, arrivals="burst")
    found = cs.sweep(["lru"], arrivals="gamma:rate=1,cv=2", rate=3.0, limit=2, max_turns=2, jobs=1).frame()
    assert list(found["rate_per_s"]) == [3.0]
