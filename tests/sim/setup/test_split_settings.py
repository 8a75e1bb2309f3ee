"""Settings of a split: flags in vLLM's spellings, and GPUs counted over the whole of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim import load_run
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.results.view.run import engine_line
from continuum_sim.setup import resolve as resolving
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.sweeps.identity import Lookup
from support.cli import printed, refused

FEW = ("--limit", "2", "--max-turns", "2", "--model", "mixtral-8x7b", "--gpu", "h100")


def test_settings_make_the_split() -> None:
    config = RunConfig(
        tensor_parallel_size=2, pipeline_parallel_size=3, data_parallel_size=4, enable_expert_parallel=True, nodes=6
    )
    assert config.parallel == Parallel(2, 3, 4, True, 6)


def test_replicas_of_a_split_have_all_its_gpus() -> None:
    config = RunConfig(
        limit=2, tensor_parallel_size=2, pipeline_parallel_size=2, data_parallel_size=2, replicas="h100:2,a100-80"
    )
    assert resolving.resolve(config).gpus == ["H100"] * 16 + ["A100-80"] * 8


@pytest.mark.parametrize(
    ("short", "told"), [("--ep", "(tp=4,ep)"), ("-ep", "(tp=4,ep)"), ("--nnodes=2", "(tp=4,nodes=2)")]
)
def test_short_flags_are_vllms(capsys: pytest.CaptureFixture[str], short: str, told: str) -> None:
    line = printed(capsys, "run", *FEW, "--tp", "4", short).splitlines()[1]
    assert line.startswith("Mixtral-8x7B on 4 × H100 (tp=4,")
    assert told in line


@pytest.mark.parametrize("flags", [("--pp", "2"), ("-pp", "2"), ("--dp", "2"), ("-dp", "2")])
def test_sizes_are_known_by_their_short_flags(capsys: pytest.CaptureFixture[str], flags: tuple[str, str]) -> None:
    said = refused(capsys, "run", "--limit", "2", *flags, "--tp", "3")
    assert f"with tp=3,{flags[0].strip('-')}=2: total number of attention heads (32)" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--ep",), "--enable-expert-parallel does nothing without --tensor-parallel-size or --data-parallel-size"),
        (("--nodes", "2"), "--nodes does nothing without"),
        (("--pp", "0"), "pipeline_parallel_size is 0, expected a whole number of at least 1"),
        (("--tp", "2", "--ep"), "number of experts in the model must be greater than 0"),
        (("--tp", "2", "--nodes", "3"), "nodes 3 must evenly divide the total world size (2)"),
    ],
)
def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str) -> None:
    assert said in refused(capsys, "run", "--limit", "2", *flags)


def test_a_run_says_how_it_was_split_and_is_repeated_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "run", *FEW, "--tp", "4", "--ep", "--out", tmp_path / "one")
    run = load_run(tmp_path / "one")
    assert (run.manifest["tensor_parallel_size"], run.manifest["enable_expert_parallel"]) == (4, True)
    assert engine_line(run.summary, run.manifest) == "Mixtral-8x7B on 4 × H100 (tp=4,ep)"
    printed(capsys, "run", "--from", tmp_path / "one", "--out", tmp_path / "two")
    again = load_run(tmp_path / "two")
    assert again.manifest["enable_expert_parallel"] is True
    assert cs.diff(tmp_path / "one", tmp_path / "two").identical


def test_identities_of_cells_without_a_split_are_kept() -> None:
    def identity(**settings: object) -> str:
        return Lookup().identify(RunConfig(**settings), "trace")[1]  # type: ignore[arg-type]

    plain = identity()
    assert identity(pipeline_parallel_size=1, data_parallel_size=1, enable_expert_parallel=False, nodes=1) == plain
    assert len({plain, identity(tensor_parallel_size=2), identity(data_parallel_size=2)}) == 3


def test_experts_on_each_gpu_leave_as_much_cache_as_slices_but_other_steps() -> None:
    few = {"limit": 2, "max_turns": 2, "model": "mixtral-8x7b", "gpu": "h100", "tensor_parallel_size": 4}
    slices, whole = (cs.run("swebench.jsonl", enable_expert_parallel=ep, **few).summary for ep in (False, True))  # type: ignore[arg-type]
    assert slices.jct_s.mean != whole.jct_s.mean
