"""Figures of a sweep's dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import continuum_sim as cs
from continuum_sim.plotting import FiguresResult
from support.small_results import SMALL

POLICIES = ("lru", "ttl-static:ttl=1.0")
BUDGETS = (64, 128, 512)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "chunks"
    cs.sweep(POLICIES, [2, 4], "0-1", vary={"max_num_batched_tokens": BUDGETS}, out=out, jobs=1, **SMALL)
    return out


@pytest.fixture(scope="module")
def drawn(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> FiguresResult:
    return cs.figures(dataset, out=tmp_path_factory.mktemp("drawn"), formats=["png"])


def test_what_a_sweep_allows(drawn: FiguresResult) -> None:
    assert {one.name for one in drawn.drawn} == {
        "jct-vs-rate",
        "jct-cdf",
        "throughput",
        "interactivity",
        "time-breakdown",
        "ablation",
        "chunk-size",
    }
    missing = {one.name: one.missing for one in drawn.skipped}
    assert missing["kv-occupancy"].startswith("needs timeline.parquet of every run; lru, seed 0 has none")
    assert "programs.parquet, which a sweep does not keep" in missing["ratio-vs-turns"]


def test_a_setting_the_budget_caps_is_not_another_setting(drawn: FiguresResult, dataset: Path) -> None:
    """A budget of 64 tokens lowers `max_num_seqs` to 64, but the point still belongs to the curve."""
    frame = cs.load_sweep(dataset).frame(programs=True)
    assert sorted(set(frame["max_num_seqs"])) == [64, 128, 256]
    table = pd.read_csv(drawn.directory / "chunk-size.csv")
    assert sorted(set(table["max_num_batched_tokens"])) == list(BUDGETS)
    own = frame[(frame["policy"] == "lru") & (frame["rate_per_s"] == 4) & (frame["max_num_batched_tokens"] == 64)]
    row = table.query("policy == 'lru' and max_num_batched_tokens == 64 and statistic == 'p95'").iloc[0]
    assert row["jct_s"] == pytest.approx(np.percentile(np.concatenate(own["program_jct_s"].tolist()), 95))
    (caption,) = (one.caption for one in drawn.drawn if one.name == "chunk-size")
    assert "here 4 programs/s" in caption


def test_the_programs_of_a_cell_are_its_distribution(drawn: FiguresResult, dataset: Path) -> None:
    frame = cs.load_sweep(dataset).frame(programs=True)
    budget = BUDGETS[0]
    own = frame[(frame["policy"] == "lru") & (frame["rate_per_s"] == 4) & (frame["max_num_batched_tokens"] == budget)]
    curve = pd.read_csv(drawn.directory / "jct-cdf.csv").query("policy == 'lru'")
    np.testing.assert_allclose(curve["jct_s"], np.unique(np.concatenate(own["program_jct_s"].tolist())))


def test_a_result_at_hand_is_drawn_as_its_directory(dataset: Path) -> None:
    panels = cs.figure("chunk-size", cs.load_sweep(dataset), where={"rate": 2}).axes
    assert [panel.get_ylabel() for panel in panels] == ["mean JCT (s)", "p95 JCT (s)"]
    assert panels[0].get_ylim()[0] == 0
