"""Estimates, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from continuum_sim.plotting.data import FigureData, MissingData, arrival_settings
from continuum_sim.plotting.gallery import kv_occupancy, ratio_vs_turns, ttl_sensitivity
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.spec import FigureOptions


def cells(rows: list[tuple[object, ...]], *columns: str) -> FigureData:
    frame = pd.DataFrame(rows, columns=["policy", "seed", *columns])
    return FigureData(frame, [None] * len(frame))


def test_kv_states_are_averaged_over_time() -> None:
    timeline = pd.DataFrame(
        {
            "end_s": [1.0, 3.0],
            "free_blocks": [60, 80],
            "cached_blocks": [20, 80],
            "pinned_blocks": [0, 20],
        }
    )
    # Until 1 s all 100 blocks are free; until 3 s 40 run, 20 are cached, 40 free; then 20 pinned, 80 cached.
    shares = kv_occupancy.occupancy(timeline, 100.0, np.array([0.0, 2.0, 4.0]))
    assert shares["running_share"].tolist() == pytest.approx([0.2, 0.2])
    assert shares["cached_share"].tolist() == pytest.approx([0.1, 0.5])
    assert shares["pinned_share"].tolist() == pytest.approx([0, 0.1])
    assert shares["free_share"].tolist() == pytest.approx([0.7, 0.2])


def test_replicas_of_a_cluster_are_added_up() -> None:
    # Replica 0 has 100 blocks and runs 40 of them until 2 s, replica 1 has 300 and runs nothing.
    timeline = pd.DataFrame(
        {
            "replica": [0, 0, 1],
            "end_s": [0.0, 2.0, 0.0],
            "free_blocks": [60, 100, 300],
            "cached_blocks": [0, 50, 300],
            "pinned_blocks": [0, 0, 0],
        }
    )
    shares = kv_occupancy.occupancy(timeline, math.nan, np.array([0.0, 2.0, 4.0]))
    assert shares["running_share"].tolist() == pytest.approx([40 / 400, 0])
    assert shares["cached_share"].tolist() == pytest.approx([300 / 400, 350 / 400])
    assert shares["free_share"].tolist() == pytest.approx([60 / 400, 50 / 400])


def test_what_varies_besides_is_held() -> None:
    rows = [("a", 0, 1.0, 8), ("b", 0, 1.0, 8), ("a", 0, 2.0, 8), ("b", 0, 2.0, 8), ("a", 0, 4.0, 8), ("a", 0, 2.0, 16)]
    data, held = hold(cells(rows, "rate", "max_num_seqs"))
    assert held == {"rate": 2.0, "max_num_seqs": 8}, "the highest rate at which both policies ran"
    assert data.cells["policy"].tolist() == ["a", "b"]


def test_longer_programs_are_a_setting_where_runs_differ_in_it() -> None:
    rows = [
        ("lru", 0, 4, 20, 5, 100.0),
        ("ttl", 0, 4, 20, 5, 50.0),
        ("lru", 0, 8, 40, 5, 300.0),
        ("ttl", 0, 8, 40, 5, 75.0),
    ]
    data = cells(rows, "max_turns", "turns", "programs", "jct_mean_s")
    table = ratio_vs_turns.tabulate(data, FigureOptions()).rows
    assert table["turns"].tolist() == [4, 8]
    assert table["ratio"].tolist() == pytest.approx([0.5, 0.25])


def test_programs_of_one_length_have_no_lengths_to_compare() -> None:
    rows = [("lru", 0, 20, 5, 100.0), ("ttl", 0, 20, 5, 50.0)]
    with pytest.raises(MissingData, match=r"programs\.parquet"):
        ratio_vs_turns.tabulate(cells(rows, "turns", "programs", "jct_mean_s"), FigureOptions())


@pytest.mark.parametrize(
    ("policy", "family", "ttl_s"),
    [
        ("ttl-static:ttl=2", "ttl-static", 2),
        ("ttl-static", "ttl-static", 2),
        ("ttl-static:ttl=0.5,pressure=head", "ttl-static:pressure=head", 0.5),
        ("order=program-fifo,retention=ttl-static:ttl=3", "order=program-fifo,retention=ttl-static", 3),
        ("lru", "lru", math.nan),
        ("somebody's own", "somebody's own", math.nan),
    ],
)
def test_policies_fall_into_families_by_their_ttl(policy: str, family: str, ttl_s: float) -> None:
    assert ttl_sensitivity.family(policy) == family
    assert ttl_sensitivity.ttl(policy) == pytest.approx(ttl_s, nan_ok=True)


@pytest.mark.parametrize(
    ("arrivals", "process", "rate"),
    [
        ("poisson:rate=0.1", "poisson", 0.1),
        ("gamma:rate=2,cv=3", "gamma:cv=3", 2),
        ("closed:workers=64", "closed:workers=64", math.nan),
        ("trace", "trace", math.nan),
    ],
)
def test_the_rate_is_a_setting_of_its_own(arrivals: str, process: str, rate: float) -> None:
    found = arrival_settings(arrivals)
    assert found["arrivals"] == process
    assert found["rate"] == pytest.approx(rate, nan_ok=True)
