"""Attention of unequal contexts: factors by hand, and what they leave of published rows."""

from __future__ import annotations

import csv
from math import comb
from pathlib import Path

import numpy as np
import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.steptime.profile_skew import Skew, SkewRow
from continuum_sim.steptime.profile_tables import SKEW, read_profile
from support.profiles import write_profile

PROFILES = Path(__file__).parents[4] / "shared/gpu-profiles"
TABLES = sorted(PROFILES.glob("**/skew.csv"))
published = pytest.mark.skipif(not TABLES, reason="the profiles of a GPU are not on this machine")


def rows(chunk: int = 0, context: int = 0, factor: float = 1.5) -> list[SkewRow]:
    """Four decodes, of which one to three are long, and two of which one is."""
    counts = [(2, 1), (4, 1), (4, 2), (4, 3)]
    return [SkewRow(n, longer, 4.0, chunk, context, kv, factor) for n, longer in counts for kv in (128.0, 2048.0)]


def test_requests_drawn_from_a_population_differ_less_the_fewer_they_are() -> None:
    factors = Skew(rows()).factors((0,), (0,), (1, 2, 4, 64), (16, 500, 9999))[0, 0]
    assert factors[0] == pytest.approx(1.0)
    for n, row in ((2, factors[1]), (4, factors[2])):
        # 1.5 unless all are of one kind, in populations of which 1, 2 and 3 in 4 are long.
        mixed = np.mean([1 - p**n - (1 - p) ** n for p in (0.25, 0.5, 0.75)])
        assert row == pytest.approx(1.5**mixed)
    assert factors[3] == pytest.approx(factors[2])  # beyond the table as at its last


def test_of_thousands_of_requests_as_many_are_long_as_in_their_population() -> None:
    factors = Skew([SkewRow(4096, 1024, 4.0, 0, 0, kv, 1.5) for kv in (128.0, 2048.0)]).factors(
        (0,), (0,), (4096,), (500,)
    )
    assert factors.item() == pytest.approx(1.5, rel=0.01)


def test_factors_lie_between_those_of_measured_nodes() -> None:
    skew = Skew(rows(64, 0, 1.2) + rows(64, 512, 1.0) + rows(256, 0, 1.4) + rows(256, 512, 1.0))
    factors = skew.factors((16, 64, 128, 256), (0, 100, 512, 4096), (4,), (500,))[:, :, 0, 0]
    assert factors[0, 0] == factors[1, 0] < factors[2, 0] < factors[3, 0]
    assert factors[3, 0] > factors[3, 1] > factors[3, 2] == pytest.approx(1.0)
    assert factors[3, 3] == pytest.approx(1.0)
    # Rows of chunks say nothing of decoding alone, which has another kernel.
    assert skew.factors((0,), (0,), (4,), (500,)) == pytest.approx(1.0)


def test_what_the_profile_did_not_vary_is_left_out_and_a_gap_is_filled() -> None:
    others = [SkewRow(4, 1, 16.0, 0, 0, 128.0, 9.0)]
    assert Skew(rows() + others).factors((0,), (0,), (4,), (128,)) == Skew(rows()).factors((0,), (0,), (4,), (128,))
    whole = [row for m in (64, 256) for c in (0, 512) for row in rows(m, c, 1.3)]
    gap = [row for row in whole if (row.chunk, row.context, row.decodes) != (64, 512, 2)]
    at = ((64,), (512,), (2, 4), (500,))
    assert np.all(Skew(gap).factors(*at) > 1.1)


def test_a_table_of_it_is_read_and_slows_batches_of_more_than_one(tmp_path: Path) -> None:
    equal = read_profile(write_profile(tmp_path)).attention
    head = ",".join(SKEW)
    lines = [
        f"pure,{n},{longer},0.5,4,0,0,128,512,{kv},10,30,12,0.1" for n, longer in ((2, 1), (4, 2)) for kv in (20, 900)
    ]
    lines += [
        f"mixed,{n},{longer},0.5,4,64,0,128,512,{kv},10,30,11,0.1" for n, longer in ((2, 1), (4, 2)) for kv in (20, 900)
    ]
    (tmp_path / "skew.csv").write_text("\n".join([head, *lines]) + "\n")
    found = read_profile(tmp_path).attention
    assert found.prefill == equal.prefill
    assert found.decode[0] == pytest.approx(equal.decode[0])
    seven_eighths = sum(comb(4, k) for k in (1, 3)) / 16 / 2 + comb(4, 2) / 16
    assert np.array(found.decode[1]) == pytest.approx(np.array(equal.decode[1]) * 1.2**seven_eighths)
    alone = equal.prefill[1][1]
    assert np.array(found.beside[1][1][2]) + alone == pytest.approx(
        (np.array(equal.beside[1][1][2]) + alone) * 1.1**seven_eighths
    )
    for line, said in (
        ("pure,2,2,1,4,0,0,1,1,9,1,1,1,0", "2 longer ones of 2"),
        ("pure,2,1,1,1,0,0,1,1,9,1,1,1,0", "skew is 1"),
    ):
        (tmp_path / "skew.csv").write_text(f"{head}\n{line}\n")
        with pytest.raises(ConfigError, match=rf"skew\.csv:2: .*{said}"):
            read_profile(tmp_path)


@published
@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_published_rows_are_met_on_average(path: Path) -> None:
    """At 128 decoding requests unequal contexts cost 4 to 10 % of attention, of which 1.3 % at most stay missing.

    Errors of single rows remain, because a batch tells its mean context alone: medians reach 6.3 %, instead of 7.8 %.
    """
    with path.open() as file:
        names = ("n", "nb", "skew", "pc", "kp", "kv_mean", "t_mean_us", "t_skew_us")
        read = [{name: float(row[name]) for name in names} for row in csv.DictReader(file)]
    skew = Skew(
        [
            SkewRow(
                *(int(row["n"]), int(row["nb"]), row["skew"], int(row["pc"]), int(row["kp"]), row["kv_mean"]),
                row["t_skew_us"] / row["t_mean_us"],
            )
            for row in read
        ]
    )
    for mixed in (False, True):
        largest = [row for row in read if row["n"] == 128 and row["skew"] == skew.skew and bool(row["pc"]) == mixed]
        keys = [(int(row["pc"]), int(row["kp"]), 128, round(row["kv_mean"])) for row in largest]
        axes = [sorted(set(nodes)) for nodes in zip(*keys, strict=True)]
        table = skew.factors(*axes)
        told = [table[tuple(axis.index(node) for axis, node in zip(axes, key, strict=True))] for key in keys]
        measured = np.array([row["t_skew_us"] / row["t_mean_us"] for row in largest])
        equal, unequal = 1 / measured - 1, np.array(told) / measured - 1
        assert -0.12 < equal.mean() < -0.03
        assert abs(unequal.mean()) < 0.02
        assert np.median(abs(unequal)) < 0.07
        assert np.quantile(abs(unequal), 0.9) < 0.8 * np.quantile(abs(equal), 0.9)
