"""A run repeated from its manifest is the same run, or a message says why it cannot be."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import continuum_sim as cs
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.policies import Policy
from continuum_sim.setup.kept_settings import describe_settings
from continuum_sim.setup.run_config import run_settings
from continuum_sim.traces.arrivals import Gamma
from support.cli import cli, printed, refused
from support.programs import program, turn
from support.steptimes import affine

KEPT = Path(__file__).parents[2] / "kept" / "e87d62c"
FILES = ("programs.parquet", "turns.parquet", "timeline.parquet", "decisions.jsonl")
FEW = ("--limit", "4", "--max-turns", "4", "--arrivals", "poisson:rate=1")


def same_files(one: Path, other: Path) -> list[str]:
    """Return the names of the files of two runs, after checking that all are equal to the byte."""
    found = [name for name in FILES if (one / name).exists()]
    for name in found:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    return found


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A trace that `trace import` made."""
    log = tmp_path / "log.jsonl"
    printed(capsys, "trace", "export", "bfcl", "--to", "mooncake", "--limit", "6", "--out", log)
    printed(capsys, "trace", "import", log, "--from", "mooncake", "--out", tmp_path / "mine.jsonl")
    return tmp_path / "mine.jsonl"


@pytest.mark.parametrize(
    "command",
    [
        ("--scenario", "continuum-fig16-swe", "--policy", "ttl", "--limit", "4", "--max-turns", "4"),
        (
            *("--replicas", "a100-80:dram_gb=2,h100:1", "--dram-gb", "1", "--ssd-gb", "2", "--reload", "always"),
            *("--router", "prefix-aware", "--policy", "mori", "--kv-blocks", "1200", "--seed", "3", *FEW),
        ),
        (
            *("--tool-workers", "bash:1,*:2", "--tool-failure-rate", "0.3", "--tool-retries", "2"),
            *("--tool-timeout", "20", "--policy", "order=program-fifo,retention=ttl-static:ttl=2", *FEW),
        ),
        ("--trace", "IMPORTED", "--repeat-turns", "1.5", "--engine", "stepwise", "--watermark", "0.01"),
    ],
    ids=["scenario", "cluster with tiers", "bounded tools", "imported trace"],
)
def test_a_repeated_run_gives_the_same_bytes(
    command: tuple[str, ...], imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(imported) if part == "IMPORTED" else part for part in command]
    printed(capsys, "run", *asked, "--decisions", "--out", tmp_path / "one")
    again = printed(capsys, "run", "--from", tmp_path / "one", "--out", tmp_path / "two", "--json")
    assert same_files(tmp_path / "one", tmp_path / "two") == list(FILES)
    assert json.loads(again)["policy"] == cs.load_run(tmp_path / "one").summary.policy
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("one", "two"))
    assert one["settings"] == two["settings"]
    assert two["command"][:3] == ["continuum-sim", "run", "--from"]


def test_a_run_of_a_comparison_and_a_manifest_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, "compare", *FEW, "--policies", "lru,ttl", "--seeds", "0-1", "--out", tmp_path / "c")
    run = tmp_path / "c" / "runs" / "ttl-seed1"
    printed(capsys, "run", "--from", run / "manifest.json", "--out", tmp_path / "again")
    assert same_files(run, tmp_path / "again") == list(FILES[:3])
    said = refused(capsys, "run", "--from", tmp_path / "c")
    assert "holds 4 runs; name one of them: " in said
    assert str(run) in said


@pytest.mark.parametrize("run", ["run", "comparison/runs/ttl-seed1"])
def test_a_run_of_a_version_that_did_not_keep_settings(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, "run", "--from", KEPT / run, "--out", tmp_path / "again")
    for name in ("programs", "turns"):
        theirs, ours = (getattr(cs.load_run(place), name) for place in (KEPT / run, tmp_path / "again"))
        assert ours[list(theirs)].equals(theirs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine_config": {"tiers": {"dram_blocks": 3}}}, "its memory tiers"),
        ({"step_time": {"kind": "fitted"}}, "its step time"),
        ({"gpu": {"memory_bandwidth_bytes_per_s": 1.0}}, "its gpu"),
        ({"policy": {"name": "mine"}}, "its policy, model or GPU"),
        ({"trace": {"name": "mine", "path": None}}, "its trace"),
    ],
)
def test_one_that_its_manifest_cannot_give_is_refused_with_its_command(
    change: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((KEPT / "run" / "manifest.json").read_text())
    for part, values in change.items():
        manifest[part] |= values
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    err = refused(capsys, "run", "--from", tmp_path)
    assert f"and {said} cannot be recovered from it; repeat the run `continuum-sim run --limit 4" in err


def test_what_is_set_or_given_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "run", *FEW, "--policy", "ttl", "--out", tmp_path / "one")
    sets = ("--set", "seed=3", "--set", "kv-blocks=1200", "--set", "rate=2", "--policy", "lru", "--limit", "3")
    printed(capsys, "run", "--from", tmp_path / "one", *sets, "--out", tmp_path / "two")
    flags = ("--seed", "3", "--kv-blocks", "1200", "--arrivals", "poisson:rate=2", "--policy", "lru", "--limit", "3")
    printed(capsys, "run", "--max-turns", "4", *flags, "--out", tmp_path / "flags")
    same_files(tmp_path / "two", tmp_path / "flags")
    # A flag wins even if it gives the default.
    printed(capsys, "run", "--from", tmp_path / "two", "--seed", "0", "--out", tmp_path / "three")
    assert cs.load_run(tmp_path / "three").summary.seed == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "R", "--set", "sead=3"], "unknown setting 'sead' of --set, did you mean 'seed'?"),
        (["--from", "R", "--set", "seed"], "--set 'seed' is not of the form setting=value"),
        (["--from", "R", "--set", "seed=x"], "seed is 'x', expected a whole number"),
        (["--from", "R", "--set", "seed=1", "--seed", "2"], "--set seed=… and --seed say the same setting"),
        (["--from", "R", "--set", "seed=1", "--set", "seed=2"], "--set gives seed twice"),
        (["--set", "seed=1"], "--set changes a run that is repeated with --from DIR"),
        (["--from", "R", "--scenario", "continuum-fig16-swe"], "--from and --scenario both say what to run"),
        (["--from", "nowhere"], "nowhere does not exist, expected the directory of a run"),
        (["--from", str(KEPT / "sweep")], "is a sweep, whose cells keep no manifest"),
        (["--from", "R", "--set", "kv_blocks=1"], "kv_blocks is 1, expected a whole number of at least 2"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(KEPT / "run", "R")
    assert said in refused(capsys, "run", *arguments)


def test_a_trace_that_changed_is_noted_and_one_that_is_gone_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Path(str(cs.traces.find_trace("bfcl"))).read_text().splitlines(keepends=True)
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(lines[:4]))
    printed(capsys, "run", "--trace", mine, "--limit", "2", "--out", tmp_path / "r")
    assert cli(capsys, "run", "--from", tmp_path / "r", "--json")[2].count("has changed since") == 0
    mine.write_text("".join(lines[1:4]))
    code, _, err = cli(capsys, "run", "--from", tmp_path / "r", "--json")
    assert (code, err.count("note: trace mine.jsonl has changed since")) == (0, 1)
    with pytest.warns(UserWarning, match=r"trace mine.jsonl has changed since"):
        cs.rerun(tmp_path / "r")
    mine.rename(tmp_path / "moved.jsonl")
    assert f"the run's trace {mine} is not found from this folder" in refused(capsys, "run", "--from", tmp_path / "r")
    found = ("--set", f"trace={tmp_path / 'moved.jsonl'}")
    assert "has changed" not in cli(capsys, "run", "--from", tmp_path / "r", *found)[2]


def test_objects_of_ones_own_are_named_when_asked_for(tmp_path: Path) -> None:
    own = replace(find_model("llama-3.1-8b"), n_layers=16)
    programs = [program("a", turn(40, 5, gap=1.0), turn(60, 3))]
    cs.run(programs, Policy("mine"), model=own, step_time=affine(), kv_blocks=100, out=tmp_path / "r")
    changes: dict[str, Any] = {}
    for name, value in (("trace", programs), ("policy", "lru"), ("model", own), ("step_time", affine())):
        with pytest.raises(cs.ConfigError, match=rf"{name} was an object .* give a value with --set {name}="):
            cs.rerun(tmp_path / "r", **changes)
        changes[name] = value
    assert cs.rerun(tmp_path / "r", **changes).programs.equals(cs.load_run(tmp_path / "r").programs)


def test_objects_that_a_name_stands_for_are_kept_by_it(tmp_path: Path) -> None:
    result = cs.run(
        Path("swebench.jsonl"),
        cs.parse_policy("ttl-static:ttl=2"),
        arrivals=Gamma(rate=2.0, cv=2.0),
        model=find_model("llama-3.1-8b"),
        replicas=[find_gpu("h100"), "a100-80"],
        kv_blocks=np.int64(1300).item(),
        tool_workers={"bash": 2, "*": 3},
        limit=2,
        max_turns=3,
        out=tmp_path / "r",
    )
    assert "objects" not in result.manifest
    cs.rerun(tmp_path / "r", out=tmp_path / "again")
    same_files(tmp_path / "r", tmp_path / "again")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**63 - 1),
            "kv_blocks": st.integers(2, 10**9) | st.none(),
            "watermark": st.floats(0, 0.999),
            "dram_gb": st.floats(0, 1e9),
            "arrivals": st.sampled_from(["burst", "poisson:rate=0.3", None]),
            "replicas": st.sampled_from([1, "2", "h100:2,a100-80", ["h100", "a100-80"]]),
            "tool_timeout": st.none() | st.floats(0.1, 1e6) | st.just("bash:4,*:16") | st.just({"bash": 4}),
            "repeat_turns": st.floats(1, 1000),
            "engine": st.sampled_from(["fast", "stepwise"]),
        },
    )
)
def test_settings_survive_being_written_and_read(settings: dict[str, Any]) -> None:
    config = cs.RunConfig(**settings)
    kept = describe_settings(config)
    assert list(kept) == ["settings"]
    assert list(kept["settings"]) == [item.name for item in fields(cs.RunConfig)]
    assert cs.RunConfig(**json.loads(json.dumps(kept["settings"]))) == config


def test_every_flag_of_run_is_a_setting_that_is_kept() -> None:
    kept = describe_settings(cs.RunConfig())["settings"]
    assert run_settings().keys() - {"rate"} == kept.keys()  # the rate was turned into arrivals


def test_a_pipe_cannot_be_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.write(writer, b'{"program_id": "a", "turns": [{"input_tokens": 9, "kept_tokens": 0, "output_tokens": 3}]}\n')
    os.close(writer)
    printed(capsys, "run", "--trace", f"/dev/fd/{reader}", "--out", tmp_path / "r")
    os.close(reader)
    error = refused(capsys, "run", "--from", tmp_path / "r")
    assert "trace was an object that a manifest cannot hold (/dev/fd" in error
