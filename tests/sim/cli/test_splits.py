"""Engines split over stages and ranks, as a user asks for them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from support.cli import printed, refused

FEW = ("--limit", "4", "--max-turns", "4")


def test_a_pipeline_holds_more_and_gives_a_lone_turn_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (printed(capsys, "run", "--limit", "1", "--max-turns", "2", "--pp", n) for n in "12")
    blocks = [int(text.split(": ")[2].split(" KV blocks")[0].replace(",", "")) for text in (one, two)]
    assert blocks[1] > 2 * blocks[0]  # the weights are halved too
    assert "Llama-3.1-8B on 2 × A100-80 (pp=2)" in two


def test_ranks_of_a_dense_model_are_engines_with_a_balancer(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "run", *FEW, "--dp", "2")
    assert "2 × A100-80 (dp=2)" in text
    assert "router vllm-balancer" in text
    assert [line.split()[1:4] for line in text.splitlines() if "rank " in line] == [
        ["A100-80,", "rank", "0"],
        ["A100-80,", "rank", "1"],
    ]


def test_ranks_of_a_mixture_step_together(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "run", *FEW, "--dp", "4", "--ep", "--model", "qwen3-30b-a3b", "--gpu", "h100")
    assert "4 × H100 (dp=4,ep)" in text
    said = refused(capsys, "run", *FEW, "--dp", "2", "--pp", "2", "--model", "qwen3-30b-a3b", "--gpu", "h100")
    assert "step together, are simulated without stages: leave --pp or --dp out" in said


def test_comparisons_sweeps_and_loads_take_splits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = printed(capsys, "compare", *FEW, "--dp", "2", "--pp", "2", "--policies", "lru,ttl", "--seeds", "0")
    assert "4 × A100-80 (pp=2,dp=2)" in text
    out = str(tmp_path / "sweep")
    printed(
        capsys, "sweep", *FEW, "--policies", "lru", "--vary", "data_parallel_size=1,2", "--seeds", "0", "--out", out
    )
    assert sorted(pd.read_parquet(Path(out) / "cells" / "cells.parquet")["data_parallel_size"]) == [1, 2]
