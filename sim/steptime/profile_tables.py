"""Read kernel times measured layer by layer: dense ones, per sequence, attention, experts, and what is said of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.steptime.profile_experts import ExpertTable
from continuum_sim.steptime.profile_grids import completed
from continuum_sim.steptime.profile_skew import Skew, SkewRow

Row = tuple[float, ...]

DENSE = ("layer", "tokens", "time_us")
PER_SEQUENCE = ("layer", "sequences", "time_us")
EXPERTS = ("tokens", "activated_experts", "time_us")
ATTENTION = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
SKEW = (
    *("regime", "n", "nb", "ratio", "skew", "pc", "kp", "kvs", "kv_big", "kv_mean"),
    *("t_mean_us", "t_max_us", "t_skew_us", "alpha"),
)

MOST_COUNT = 1_000_000
"""Largest tokens or sequences of a step in a table, which is interpolated for every count up to its largest."""
MOST_VALUE = 1e12
"""Largest value of anything else: microseconds of eleven days, tokens beyond any context."""
MOST_CELLS = 1_000_000
"""Most nodes of an attention grid, all of which are kept; published ones have some 65,000."""


@dataclass(frozen=True)
class Curve:
    """One kernel's times in seconds, over a count of tokens or sequences."""

    counts: tuple[int, ...]
    times_s: tuple[float, ...]

    def every(self, most: int) -> list[float]:
        """Times of 0 to `most`: interpolated between measured counts; any work takes at least the first count's time.

        Beyond the last count the mean slope of the upper half is extrapolated: single steps of a table are tile edges.
        """
        counts, times, beyond = self.counts, self.times_s, self._upper_slope()
        values, right = [0.0], 0
        for count in range(1, most + 1):
            while right < len(counts) and counts[right] < count:
                right += 1
            if right == 0:
                values.append(times[0])
            elif right == len(counts):
                values.append(times[-1] + (count - counts[-1]) * beyond)
            else:
                left, share = right - 1, (count - counts[right - 1]) / (counts[right] - counts[right - 1])
                values.append(times[left] + share * (times[right] - times[left]))
        return values

    def _upper_slope(self) -> float:
        if len(self.counts) == 1:
            return 0.0
        half = min(range(len(self.counts) - 1), key=lambda i: abs(self.counts[i] - self.counts[-1] / 2))
        return max(0.0, (self.times_s[-1] - self.times_s[half]) / (self.counts[-1] - self.counts[half]))


@dataclass(frozen=True)
class AttentionGrid:
    """One layer's attention, in seconds, over a grid of prefill chunk, its context, decodes and their mean context."""

    chunks: tuple[int, ...]
    contexts: tuple[int, ...]
    """Context nodes of the prefilling request."""
    decode_alone: tuple[int, ...]
    """Nodes of decoding requests without a chunk."""
    decode_beside: tuple[int, ...]
    """Those beside a chunk, from 0."""
    decode_contexts: tuple[int, ...]
    prefill: tuple[tuple[float, ...], ...]
    """[chunk][context], without decodes."""
    decode: tuple[tuple[float, ...], ...]
    """[decoding requests][their context], without prefill."""
    beside: tuple[tuple[tuple[tuple[float, ...], ...], ...], ...]
    """[chunk][context][decoding requests][their context]: what decodes add to the time of the chunk alone."""


@dataclass(frozen=True)
class ProfileTables:
    """A folder of measured kernel times."""

    folder: Path
    dense: dict[str, Curve]
    per_sequence: dict[str, Curve]
    attention: AttentionGrid
    skew: Skew | None
    """What unequal contexts add, which is in `attention`; None without `skew.csv`."""
    experts: ExpertTable | None
    """None without `moe.csv`."""
    experts_path: Path
    whole_experts: bool
    """Whether those are of GPUs that have all of an expert: the table of one GPU, for want of one of this split."""
    split: int | None
    """GPUs that share a layer, of which these are the kernels of one; None if the folder's name does not tell."""
    meta: dict[str, str]
    """`key: value` lines of meta.yaml at any nesting, the first one for each key; empty if there is no file."""


def read_profile(folder: Path, size: int = 1, *, unequal_contexts: bool = True) -> ProfileTables:
    """Read the tables of a folder, or of the folder tpN in it for a split over N = `size` GPUs.

    As profiles are published, `meta.yaml` may lie beside the folders tpN, and the experts of one GPU in tp1 alone.
    Without `unequal_contexts`, `skew.csv` is left aside.

    Raises
    ------
    ConfigError
        Naming the file, the line and what was expected.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"profiled step times: no folder {folder}; give one with dense.csv, per_sequence.csv, attention.csv"
        )
    split = _split_of(folder)
    if split is None and not (folder / "dense.csv").exists() and (found := _splits_in(folder)):
        if size not in found:
            stated = ", ".join(f"tp{other}" for other in sorted(found))
            raise ConfigError(f"{folder}: has profiles {stated}, but none of a model on {size} GPUs (tp{size})")
        folder, split = found[size], size
    meta = _read_meta(folder / "meta.yaml")
    if not meta and split is not None:
        meta = _read_meta(folder.parent / "meta.yaml")
    experts = folder / "moe.csv"
    whole = split == 1
    if split is not None and not experts.exists() and (of_one := folder.parent / "tp1" / "moe.csv").exists():
        experts, whole = of_one, True
    skew = _read_skew(folder / "skew.csv") if unequal_contexts else None
    return ProfileTables(
        folder,
        _read_curves(folder / "dense.csv", DENSE),
        _read_curves(folder / "per_sequence.csv", PER_SEQUENCE),
        _read_attention(folder / "attention.csv", skew),
        skew,
        _read_experts(experts),
        experts,
        whole,
        split,
        meta,
    )


def _split_of(folder: Path) -> int | None:
    """Return N of a folder called tpN."""
    name = folder.resolve().name
    return int(name[2:]) if name[:2] == "tp" and name[2:].isdecimal() else None


def _splits_in(folder: Path) -> dict[int, Path]:
    """Return the folders tpN by N."""
    return {size: path for path in folder.glob("tp*") if (size := _split_of(path)) is not None and path.is_dir()}


def _read_curves(path: Path, columns: Sequence[str]) -> dict[str, Curve]:
    points: dict[str, dict[int, float]] = {}
    for line, cells in _rows(path, columns):
        count, time_us = _numbers(path, line, columns[1:], cells[1:])
        if not 1 <= count <= MOST_COUNT:
            raise ConfigError(
                f"{path}:{line}: {columns[1]} is {cells[1]}, expected at least 1 and at most {MOST_COUNT:,}"
            )
        points.setdefault(cells[0], {})[int(count)] = time_us * 1e-6
    if not points:
        raise ConfigError(f"{path}: has no rows")
    return {
        layer: Curve(tuple(sorted(times)), tuple(times[count] for count in sorted(times)))
        for layer, times in points.items()
    }


def _read_experts(path: Path) -> ExpertTable | None:
    if not path.exists():
        return None
    times: dict[int, dict[int, float]] = {}
    for line, cells in _rows(path, EXPERTS):
        tokens, touched, time_us = _numbers(path, line, EXPERTS, cells)
        for name, value in (("tokens", tokens), ("activated_experts", touched)):
            if not 1 <= value <= MOST_COUNT:
                raise ConfigError(f"{path}:{line}: {name} is {value:g}, expected at least 1 and at most {MOST_COUNT:,}")
        times.setdefault(int(tokens), {})[int(touched)] = time_us * 1e-6
    if not times:
        raise ConfigError(f"{path}: has no rows")
    rows = [(tuple(sorted(row)), tuple(row[touched] for touched in sorted(row))) for _, row in sorted(times.items())]
    return ExpertTable(tuple(sorted(times)), tuple(rows))


def _read_attention(path: Path, skew: Skew | None = None) -> AttentionGrid:
    times: dict[tuple[int, int, int, int], float] = {}
    for line, cells in _rows(path, ATTENTION):
        chunk, context, requests, kv, time_us = _numbers(path, line, ATTENTION, cells)
        # Without a chunk there is no context of one, without decoding requests none of theirs.
        times[int(chunk), int(context) if chunk else 0, int(requests), int(kv) if requests else 0] = time_us * 1e-6
    chunks = _nodes(key[0] for key in times if key[0])
    contexts = _nodes(key[1] for key in times if key[0])
    alone = _nodes(key[2] for key in times if not key[0] and key[2])
    beside = _nodes(key[2] for key in times if key[0] and key[2])
    decode_contexts = _nodes(key[3] for key in times if key[2])
    axes = {"prefill_chunk": chunks, "kv_prefill": contexts, "n_decode": alone, "kv_decode": decode_contexts}
    for what, nodes in axes.items():
        if len(nodes) < 2:
            raise ConfigError(f"{path}: has {len(nodes)} values of {what}, expected a grid of two or more")
    for what, missing in (("n_decode above 0", not beside), ("n_decode 0", all(key[2] for key in times if key[0]))):
        if missing:
            raise ConfigError(f"{path}: no row with prefill_chunk above 0 and {what}, expected a grid of them")
    nodes_of_all = len(chunks) * len(contexts) * (1 + len(beside)) * len(decode_contexts)
    if nodes_of_all > MOST_CELLS:
        raise ConfigError(
            f"{path}: its rows are nodes of a grid of {nodes_of_all:,}, expected at most {MOST_CELLS:,}: give "
            "fewer values of each column"
        )
    prefill = completed(times, (chunks, contexts, (0,), (0,)))[:, :, 0, 0]
    decode = completed(times, ((0,), (0,), alone, decode_contexts))[0, 0]
    mixed = completed(times, (chunks, contexts, beside, decode_contexts), prefill)
    if skew is not None:
        decode *= skew.factors((0,), (0,), alone, decode_contexts)[0, 0]
        mixed *= skew.factors(chunks, contexts, beside, decode_contexts)
    added = np.zeros((len(chunks), len(contexts), 1 + len(beside), len(decode_contexts)))
    added[:, :, 1:] = mixed - prefill[:, :, None, None]
    return AttentionGrid(
        chunks, contexts, alone, (0, *beside), decode_contexts, _tuples(prefill), _tuples(decode), _tuples(added)
    )


def _tuples(values: Any) -> Any:
    """Return nested tuples of nested lists or an array: reading single items of an array is slow."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return tuple(map(_tuples, values)) if isinstance(values, list) else values


def _read_skew(path: Path) -> Skew | None:
    if not path.exists():
        return None
    wanted = ("n", "nb", "skew", "pc", "kp", "kv_mean", "t_mean_us", "t_skew_us")
    places = [SKEW.index(name) for name in wanted]
    rows = []
    for line, cells in _rows(path, SKEW):
        n, longer, skew, chunk, context, kv, equal_us, unequal_us = _numbers(
            path, line, wanted, [cells[place] for place in places], fractions=("skew", "kv_mean")
        )
        if not 1 <= longer < n <= MOST_COUNT:
            raise ConfigError(f"{path}:{line}: {longer:g} longer ones of {n:g} requests, expected 1 to all but one")
        if skew <= 1 or kv < 1:
            raise ConfigError(f"{path}:{line}: skew is {skew:g} and kv_mean {kv:g}, expected more than 1 and 1 or more")
        rows.append(SkewRow(int(n), int(longer), skew, int(chunk), int(context), kv, unequal_us / equal_us))
    if not rows:
        raise ConfigError(f"{path}: has no rows")
    return Skew(rows)


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except OSError as error:
        raise ConfigError(f"profiled step times: {path} cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"profiled step times: {path} is not a CSV file ({error})") from None
    if not lines or [cell.strip() for cell in lines[0]] != list(columns):
        raise ConfigError(f"{path}:1: expected the header {','.join(columns)}")
    rows = [(number, cells) for number, cells in enumerate(lines[1:], start=2) if cells]
    for number, cells in rows:
        if len(cells) != len(columns):
            raise ConfigError(f"{path}:{number}: has {len(cells)} cells, expected {len(columns)} ({','.join(columns)})")
    return rows


def _numbers(path: Path, line: int, columns: Sequence[str], cells: Sequence[str], fractions: Sequence[str] = ()) -> Row:
    values = []
    for name, cell in zip(columns, cells, strict=True):
        try:
            value = float(cell)
        except ValueError:
            value = float("nan")
        time = name.endswith("_us")
        right = time or name in fractions or value == int(value) if isfinite(value) else False
        if not right or not 0 <= value <= MOST_VALUE or (time and value == 0):
            expected = "microseconds above 0" if time else "a whole number, 0 or more"
            expected = "a number, 0 or more" if name in fractions else expected
            expected += f", at most {MOST_VALUE:.0e}" if value > MOST_VALUE else ""
            raise ConfigError(f"{path}:{line}: {name} is {cell!r}, expected {expected}")
        values.append(value)
    return tuple(values)


def _nodes(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(values)))


def _read_meta(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    meta: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if value:
            meta.setdefault(key, value.strip("'\""))
    return meta
