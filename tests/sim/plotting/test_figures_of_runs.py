"""Figures of run and comparison directories, through the public doors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import continuum_sim as cs
from continuum_sim.results.summary import Quantiles, TimeSplit
from support.small_results import POLICIES, RATES, SEEDS, SMALL

OF_COMPARISONS = {
    "jct-vs-rate",
    "jct-cdf",
    "throughput",
    "interactivity",
    "time-breakdown",
    "ablation",
    "kv-occupancy",
    "wait-per-turn",
    "ratio-vs-turns",
    "ttl-sensitivity",
}
STARTS = {"csv": b"policy,", "pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}


@pytest.fixture(scope="module")
def drawn(comparisons: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn")
    cs.figures(comparisons, out=out, formats=["png"])
    return out


def csv(drawn: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(drawn / f"{name}.csv")


def test_every_figure_the_data_allow_is_there_as_pictures_and_data(drawn: Path) -> None:
    assert {path.stem for path in drawn.glob("*.csv")} == OF_COMPARISONS
    for name in OF_COMPARISONS:
        assert (drawn / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not list(drawn.glob(".*"))


def test_the_index_has_captions_and_says_what_is_missing(drawn: Path) -> None:
    index = json.loads((drawn / "figures.json").read_text())
    captions = {one["name"]: one["caption"] for one in index["figures"]}
    assert set(captions) == OF_COMPARISONS
    assert "12 programs" in captions["jct-cdf"]
    assert "Student t interval" in captions["jct-vs-rate"]
    assert "here 4 programs/s" in captions["jct-cdf"], "the highest of the rates, and it says so"
    assert "seeds 0-2" in captions["ablation"]
    missing = {one["name"]: one["missing"] for one in index["skipped"]}
    assert "max_num_seqs or more; there is one (256)" in missing["batch-size"]
    assert missing["dram-size"].startswith("needs runs at two values of the size of the DRAM tier")


def test_jct_against_rate_is_that_of_the_programs_of_all_seeds(drawn: Path, comparisons: Path) -> None:
    table = csv(drawn, "jct-vs-rate")
    assert len(table) == len(POLICIES) * len(RATES) * 3
    assert table["policy"].unique().tolist() == list(POLICIES)
    runs = [cs.load_run(path) for path in (comparisons / "rate-2" / "runs").glob("lru-*")]
    logs = np.log([run.summary.jct_s.p95 for run in runs])
    assert len(logs) == len(SEEDS)
    row = table.query("policy == 'lru' and rate == 2 and statistic == 'p95'").iloc[0]
    assert row["jct_s"] == pytest.approx(np.percentile(np.concatenate([run.programs["jct_s"] for run in runs]), 95))
    # t(2 degrees of freedom, 97.5 %) = 4.302653
    assert np.log(row["high_s"] / row["jct_s"]) == pytest.approx(4.302653 * logs.std(ddof=1) / np.sqrt(3), rel=1e-6)
    assert row["jct_s"] / row["low_s"] == pytest.approx(row["high_s"] / row["jct_s"])


def test_a_distribution_rises_from_the_fastest_program_to_all(drawn: Path, comparisons: Path) -> None:
    table = csv(drawn, "jct-cdf")
    runs = [cs.load_run(path) for path in (comparisons / "rate-4" / "runs").glob("fcfs-*")]
    jct_s = np.sort(np.concatenate([run.programs["jct_s"] for run in runs]))
    curve = table.query("policy == 'fcfs'")
    assert curve["jct_s"].tolist() == pytest.approx(np.unique(jct_s).tolist())
    assert curve["share"].iloc[0] == pytest.approx(1 / len(jct_s))
    assert curve["share"].iloc[-1] == pytest.approx(1)
    assert curve["share"].is_monotonic_increasing
    assert table[["low", "high"]].stack().between(0, 1).all()


def test_time_parts_add_up(drawn: Path) -> None:
    table = csv(drawn, "time-breakdown")
    assert table["policy"].tolist() == list(POLICIES)
    parts = table.filter(items=[f"{part}_s" for part in TimeSplit.__struct_fields__]).sum(axis=1)
    np.testing.assert_allclose(parts, table["jct_mean_s"])


def test_interactivity_is_of_the_summaries_load_by_load(drawn: Path, comparisons: Path) -> None:
    table = csv(drawn, "interactivity")
    assert len(table) == len(POLICIES) * len(RATES)
    assert table.query("policy == 'lru'")["rate"].tolist() == list(RATES)
    runs = [cs.load_run(path).summary for path in (comparisons / "rate-2" / "runs").glob("lru-*")]
    row = table.query("policy == 'lru' and rate == 2").iloc[0]
    seen = [1 / run.tpot_s.p90 for run in runs if isinstance(run.tpot_s, Quantiles)]
    assert len(seen) == len(SEEDS)
    assert row["interactivity_tokens_per_s_p90"] == pytest.approx(np.mean(seen))
    tokens = [run.throughput.output_tokens_per_s for run in runs]  # of one GPU
    assert row["output_tokens_per_gpu_s"] == pytest.approx(np.mean(tokens))
    assert row["gpu_low"] < row["output_tokens_per_gpu_s"] < row["gpu_high"]


def test_attainment_is_of_runs_with_objectives(comparisons: Path, tmp_path: Path) -> None:
    for rate in (1, 4):
        settings = {**SMALL, "slo": "ttft=0.1,jct=20", "arrivals": f"poisson:rate={rate}"}
        cs.compare(["lru", "fcfs"], [0, 1], out=tmp_path / f"rate-{rate}", **settings)
    found = cs.figures(tmp_path, only=["slo-attainment"], out=tmp_path / "figures", formats=["png"])
    assert [one.name for one in found.drawn] == ["slo-attainment"]
    assert "ttft=0.1" in found.drawn[0].caption
    table = csv(tmp_path / "figures", "slo-attainment")
    assert len(table) == 2 * 2 * 2
    runs = [cs.load_run(path) for path in (tmp_path / "rate-4" / "runs").glob("fcfs-*")]
    jct = [(run.programs["jct_s"] <= 20).mean() for run in runs]
    wait = [(run.turns["first_token_s"] - run.turns["arrival_s"] <= 0.1).mean() for run in runs]
    assert 0 < np.mean(wait) < 1
    mine = table.query("policy == 'fcfs' and rate == 4").set_index("of")["share"]
    assert mine["programs"] == pytest.approx(np.mean(jct))
    assert mine["turns"] == pytest.approx(np.mean(wait))
    (skipped,) = cs.figures(comparisons, only=["slo-attainment"], out=tmp_path / "none").skipped
    assert skipped.missing.startswith("needs runs with objectives")


def test_kv_states_fill_the_cache(drawn: Path, comparisons: Path) -> None:
    table = csv(drawn, "kv-occupancy")
    states = table[["running_share", "pinned_share", "cached_share", "free_share"]]
    np.testing.assert_allclose(states.sum(axis=1), 1)
    assert (states > -1e-12).all(axis=None)
    static = table.query("policy == 'ttl-static:ttl=4.0'")
    run = cs.load_run(comparisons / "rate-4" / "runs" / "ttl-static_ttl=4.0-seed0")
    pinned = (static["pinned_share"] * (static["end_s"] - static["start_s"])).sum() * (run.summary.kv.blocks - 1)
    # Pins begin and end between the samples of the timeline, so the integrals agree only roughly.
    assert pinned == pytest.approx(run.summary.kv.pinned_block_seconds, rel=0.25)
    assert (table.query("policy == 'fcfs'")["pinned_share"] == 0).all()
    assert (table.query("policy == 'fcfs'")["cached_share"] < 0.01).all(), "it forgets every context"


def test_waits_by_turn_are_those_of_the_turns(drawn: Path, comparisons: Path) -> None:
    table = csv(drawn, "wait-per-turn")
    runs = [cs.load_run(path) for path in (comparisons / "rate-4" / "runs").glob("lru-*")]
    waits = [
        (turns["scheduled_s"] - turns["arrival_s"])[turns["turn"] == 3].mean() for turns in (r.turns for r in runs)
    ]
    assert table.query("policy == 'lru' and turn == 3")["wait_s"].item() == pytest.approx(np.mean(waits))
    assert table["turn"].max() < 11, "but two programs have twelve turns"


def test_ratios_are_paired_by_seed(drawn: Path, comparisons: Path) -> None:
    table = csv(drawn, "ablation")
    assert set(table["baseline"]) == {"lru"}
    assert (table.query("policy == 'lru'")["ratio"] == 1).all()

    def mean_s(policy: str, seed: int) -> float:
        return cs.load_run(comparisons / "rate-4" / "runs" / f"{policy}-seed{seed}").summary.jct_s.mean

    means = {policy: np.mean([mean_s(policy, seed) for seed in SEEDS]) for policy in ("fcfs", "lru")}
    logs = [np.log(mean_s("fcfs", seed) / mean_s("lru", seed)) for seed in SEEDS]
    row = table.query("policy == 'fcfs' and statistic == 'mean'").iloc[0]
    assert row["ratio"] == pytest.approx(means["fcfs"] / means["lru"]), "as every program counts the same"
    assert np.log(row["high"] / row["ratio"]) == pytest.approx(4.302653 * np.std(logs, ddof=1) / np.sqrt(3), rel=1e-6)


def test_ttl_families_are_lines_and_the_others_levels(drawn: Path) -> None:
    table = csv(drawn, "ttl-sensitivity").query("statistic == 'mean'")
    assert table.query("policy == 'ttl-static'")["ttl_s"].tolist() == [1, 4]
    assert table[table["ttl_s"].isna()]["policy"].tolist() == ["fcfs", "lru"]


def test_the_same_data_give_the_same_bytes(comparisons: Path, tmp_path: Path) -> None:
    """In another process, with other settings of matplotlib's and at another time."""
    options = {"only": ["time-breakdown"], "formats": ["pdf", "png", "svg"]}
    cs.figures(comparisons, out=tmp_path / "here", **options)  # type: ignore[arg-type]
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 9\npdf.fonttype: 3\n")
    call = f"import continuum_sim as cs; cs.figures({str(comparisons)!r}, out='there', **{options})"
    subprocess.run([sys.executable, "-c", call], cwd=tmp_path, check=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert len(files) == len(STARTS) + 1
    for name, content in files.items():
        assert content == (tmp_path / "there" / name).read_bytes(), name
        assert content.startswith(STARTS.get(name.rpartition(".")[2], b"{"))


def test_one_run_is_enough_for_what_needs_one(one_run: Path) -> None:
    result = cs.figures(one_run, formats=["png"])
    assert result.directory == one_run / "figures"
    assert {one.name for one in result.drawn} == {
        "jct-cdf",
        "throughput",
        "time-breakdown",
        "kv-occupancy",
        "wait-per-turn",
    }
    missing = {one.name: one.missing for one in result.skipped}
    assert missing["jct-vs-rate"] == "needs runs at two values of the arrival rate or more; there is one (2)"
    assert "another policy" in missing["ablation"]
    cs.load_run(one_run)  # the directory is still one of a run


def test_a_figure_for_a_notebook(one_run: Path) -> None:
    picture = cs.figure("kv-occupancy", cs.load_run(one_run))
    assert picture._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    (panel,) = picture.axes
    assert panel.get_ylim() == (0, 100)
    assert panel.get_xlabel() == "time (s)"


def test_a_cluster_has_one_panel_for_all_its_replicas() -> None:
    run = cs.run(policy="lru", arrivals="poisson:rate=4", replicas=2, **SMALL)
    (panel,) = cs.figure("kv-occupancy", run).axes
    stacked = np.array([area.get_paths()[0].vertices[:, 1].max() for area in panel.collections])
    assert stacked.max() == pytest.approx(100)


def test_results_in_memory_are_drawn_too() -> None:
    result = cs.compare(["lru", "fcfs"], [0, 1], arrivals="poisson:rate=2", **SMALL)
    panel = cs.figure("jct-cdf", result).axes[0]
    assert len(panel.get_lines()) == 2
    with pytest.raises(cs.ConfigError, match=r"figure kv-occupancy: needs timeline\.parquet of every run"):
        cs.figure("kv-occupancy", result)
