"""Published kernel tables: one half of the rows predicts the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from continuum_sim.steptime import StepBatch
from continuum_sim.steptime.profile_attention import Attention
from continuum_sim.steptime.profile_tables import read_profile
from support.profiles import write_profile

SHARED = Path(__file__).parents[4] / "shared"
TABLES = sorted([*SHARED.glob("gpu-profiles/**/attention.csv"), *SHARED.glob("gpu-runs/*/attention.csv")])
pytestmark = pytest.mark.skipif(not TABLES, reason="the profiles of GPUs are not on this machine")

Row = tuple[int, int, int, int, float]

SMALL = 128
"""Tokens of a chunk from which a mixed step counts as large."""
MEDIAN, NINTH = 0.05, 0.10
"""Bars of the median and the 90th percentile of absolute errors."""
ABOVE = {("rtx4090-llama-3.1-8b", "decode"): 0.16}
"""Where the 90th percentile is higher: 99 rows on one grid of steps of two. One decoding request has a kernel of its
own, which splits its context, and the other half of its eleven times does not tell those of the longest contexts."""


def named(path: Path) -> str:
    return "-".join(path.parts[-3:-1])


def read(path: Path) -> list[Row]:
    lines = path.read_text().splitlines()[1:]
    return [(*map(int, cells[:4]), float(cells[4])) for cells in (line.split(",") for line in lines)]  # type: ignore[misc]


def fitted(folder: Path, table: Path, rows: Iterable[Row]) -> Attention:
    """Return the attention of a folder with these rows, of equal contexts."""
    for name in ("dense.csv", "per_sequence.csv"):
        (folder / name).write_text((table.parent / name).read_text())
    lines = [",".join(map(str, row)) for row in rows]
    (folder / "attention.csv").write_text("\n".join(["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", *lines]))
    return Attention(read_profile(folder).attention, layers=1)


def errors(attention: Attention, rows: Iterable[Row]) -> dict[str, list[float]]:
    """Return the relative errors of rows by class of step."""
    found: dict[str, list[float]] = defaultdict(list)
    for chunk, context, decodes, kv, time_us in rows:
        pairs = chunk * context + chunk * (chunk + 1) // 2
        batch = StepBatch(int(chunk > 0), chunk, context, pairs, decodes, decodes * kv)
        ((_, seconds, _, _),) = attention.pieces(batch, 1)
        kind = "decode" if not chunk else "prompt" if not decodes else "small" if chunk < SMALL else "large"
        found[kind].append(seconds * 1e6 / time_us - 1)
    return found


def ninth(values: Sequence[float]) -> float:
    return float(np.quantile(np.abs(values), 0.9))


@pytest.mark.parametrize("table", TABLES, ids=named)
def test_half_of_a_table_predicts_the_other(tmp_path: Path, table: Path) -> None:
    rows, pooled = read(table), defaultdict(list)
    for seed in range(1 if len(rows) > 10_000 else 8):
        drawn = np.random.default_rng(seed).random(len(rows)) < 0.5
        attention = fitted(tmp_path, table, (row for row, kept in zip(rows, drawn, strict=True) if kept))
        held_back = [row for row, kept in zip(rows, drawn, strict=True) if not kept]
        for kind, values in errors(attention, held_back).items():
            pooled[kind] += values
    assert set(pooled) == {"decode", "prompt", "small", "large"}
    for kind, values in pooled.items():
        assert np.median(np.abs(values)) < MEDIAN, kind
        assert ninth(values) < ABOVE.get((table.parent.name, kind), NINTH), kind


@pytest.mark.parametrize("table", [path for path in TABLES if "gpu-profiles" in path.parts], ids=named)
def test_one_of_two_overlapping_grids_predicts_the_other(tmp_path: Path, table: Path) -> None:
    """Chunks that lie between all fitted ones, where another wave of tiles may begin: 90th percentiles reach 13 %."""
    doubled = {0, *(16 << step for step in range(11))}
    rows = read(table)
    of_grid = [row for row in rows if {row[0], row[1], row[3]} <= doubled]
    found = errors(fitted(tmp_path, table, of_grid), (row for row in rows if not {row[0], row[1], row[3]} <= doubled))
    for kind, values in found.items():
        assert np.median(np.abs(values)) < MEDIAN, kind
        assert ninth(values) < (0.14 if kind in ("prompt", "large") else NINTH), kind


@pytest.mark.parametrize("table", TABLES, ids=named)
@pytest.mark.parametrize("name", ["dense.csv", "per_sequence.csv"])
def test_half_of_the_other_kernels_predicts_the_rest(tmp_path: Path, table: Path, name: str) -> None:
    """Kernels by tokens or requests, all errors together: those of tiny kernels weigh as much as those of products."""
    head, *lines = (table.parent / name).read_text().splitlines()
    drawn = np.random.default_rng(0).random(len(lines)) < 0.5
    write_profile(tmp_path)
    (tmp_path / name).write_text("\n".join([head, *(line for line, kept in zip(lines, drawn, strict=True) if kept)]))
    profile = read_profile(tmp_path)
    curves = profile.dense if name == "dense.csv" else profile.per_sequence
    held_back = [line.split(",") for line, kept in zip(lines, drawn, strict=True) if not kept]
    most = max(int(count) for _, count, _ in held_back)
    every = {layer: curve.every(most) for layer, curve in curves.items()}
    values = [every[layer][int(count)] * 1e6 / float(time_us) - 1 for layer, count, time_us in held_back]
    assert np.median(np.abs(values)) < MEDIAN
    assert ninth(values) < NINTH
