"""Read kernel times measured layer by layer: dense ones, per sequence, attention, experts, and `meta.yaml`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from continuum_sim.errors import ConfigError
from continuum_sim.steptime.profile_experts import ExpertTable
from continuum_sim.steptime.profile_grids import completed

Row = tuple[float, ...]

DENSE = ("layer", "tokens", "time_us")
PER_SEQUENCE = ("layer", "sequences", "time_us")
EXPERTS = ("tokens", "activated_experts", "time_us")
ATTENTION = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")


MOST_COUNT = 1_000_000
"""Largest tokens or sequences of a step in a table, which is interpolated for every count up to its largest."""
MOST_VALUE = 1e12
"""Largest value of anything else: microseconds of eleven days, tokens beyond any context."""


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
    decode_requests: tuple[tuple[int, ...], ...]
    """Nodes of decoding requests, first without a chunk and then for each chunk; those with a chunk start at 0."""
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
    experts: ExpertTable | None
    """None without `moe.csv`."""
    meta: dict[str, str]
    """`key: value` lines of meta.yaml at any nesting, the first one for each key; empty if there is no file."""


def read_profile(folder: Path) -> ProfileTables:
    """Read the tables of a folder.

    Raises
    ------
    ConfigError
        Naming the file, the line and what was expected.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"profiled step times: no folder {folder}; give one with dense.csv, per_sequence.csv, attention.csv"
        )
    return ProfileTables(
        folder,
        _read_curves(folder / "dense.csv", DENSE),
        _read_curves(folder / "per_sequence.csv", PER_SEQUENCE),
        _read_attention(folder / "attention.csv"),
        _read_experts(folder / "moe.csv"),
        _read_meta(folder / "meta.yaml"),
    )


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


def _read_attention(path: Path) -> AttentionGrid:
    times: dict[tuple[int, int, int, int], float] = {}
    for line, cells in _rows(path, ATTENTION):
        chunk, context, requests, kv, time_us = _numbers(path, line, ATTENTION, cells)
        times[int(chunk), int(context), int(requests), int(kv)] = time_us * 1e-6
    times = completed(times)
    chunks = _nodes(key[0] for key in times if key[0] and not key[2])
    contexts = _nodes(key[1] for key in times if key[0])
    alone = _nodes(key[2] for key in times if not key[0] and key[2])
    decode_contexts = _nodes(key[3] for key in times if key[2])
    beside = [_nodes(key[2] for key in times if key[0] == chunk and key[2]) for chunk in chunks]
    axes = {"prefill_chunk": chunks, "kv_prefill": contexts, "n_decode": alone, "kv_decode": decode_contexts}
    for what, nodes in axes.items():
        if len(nodes) < 2:
            raise ConfigError(f"{path}: has {len(nodes)} values of {what}, expected a grid of two or more")
    for chunk, nodes in zip(chunks, beside, strict=True):
        if not nodes:
            raise ConfigError(
                f"{path}: no row for prefill_chunk {chunk} with n_decode above 0, expected a grid of them"
            )

    def time_s(*key: int) -> float:
        if key not in times:
            named = ", ".join(f"{name} {value}" for name, value in zip(ATTENTION, key, strict=False))
            raise ConfigError(f"{path}: no row for {named}, expected every combination of the grid")
        return times[key]

    prefill = tuple(tuple(time_s(chunk, context, 0, 0) for context in contexts) for chunk in chunks)
    decode = tuple(tuple(time_s(0, 0, requests, kv) for kv in decode_contexts) for requests in alone)
    added = tuple(
        tuple(
            tuple(
                tuple(
                    time_s(chunk, context, requests, kv) - prefill[i][j] if requests else 0.0 for kv in decode_contexts
                )
                for requests in (0, *beside[i])
            )
            for j, context in enumerate(contexts)
        )
        for i, chunk in enumerate(chunks)
    )
    with_none = tuple((0, *nodes) for nodes in beside)
    return AttentionGrid(chunks, contexts, (alone, *with_none), decode_contexts, prefill, decode, added)


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


def _numbers(path: Path, line: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    values = []
    for name, cell in zip(columns, cells, strict=True):
        try:
            value = float(cell)
        except ValueError:
            value = float("nan")
        whole = name == "time_us" or value == int(value) if isfinite(value) else False
        if not whole or not 0 <= value <= MOST_VALUE or (name == "time_us" and value == 0):
            expected = "microseconds above 0" if name == "time_us" else "a whole number, 0 or more"
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
