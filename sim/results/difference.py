"""Differences between two runs, or two comparisons run by run: settings, versions, numbers, first diverging turn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.results.files import MANIFEST
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.manifest_parts import ComparisonParts, read_manifest
from continuum_sim.results.result import RunResult, load_run
from continuum_sim.results.summary import Summary
from continuum_sim.results.tables import COLUMNS
from continuum_sim.results.unfinished import COMPARISON, refuse_unfinished

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EVENTS: Final = {
    "arrival_s": "arrives",
    "scheduled_s": "is first scheduled",
    "first_token_s": "gives its first token",
    "finish_s": "ends",
}
"""Times of a turn, in order -> what happens then."""
_NO_RESULTS: Final = frozenset({"wall_s", "seed"})
"""Numbers of a summary that are not results."""
_LOOKED_UP: Final = ("policy", "model", "gpu", "step_time")
"""Parts of a manifest that were looked up from the setting of the same name."""
_ROUNDING: Final = 1e-9
"""Relative difference that two sums of the same times may have; smaller differences are ignored."""


class Differing(msgspec.Struct, frozen=True):
    """A setting, a version, or a value that was looked up; None on the side that lacks it."""

    name: str
    a: Any
    b: Any


class NumberDiffering(msgspec.Struct, frozen=True):
    """A number of `summary.json`, named by its path of keys."""

    name: str
    a: float | int | None
    b: float | int | None
    difference: float | int | None
    """b − a; None if one side lacks the number."""
    ratio: float | None
    """b / a; None also if a is 0."""


class JctDifference(msgspec.Struct, frozen=True):
    """JCT of the programs of both runs, program by program; a single run of each does not generalise."""

    programs: int
    mean_difference_s: float
    """b − a: negative if b is faster."""
    ratio: float
    """Ratio of the means, b / a."""
    faster: int
    """Programs that b served faster."""
    slower: int
    equal: int


class Parting(msgspec.Struct, frozen=True):
    """The first moment at which the runs differ."""

    time_s: float
    program: str
    turn: int
    event: str
    """Column of `turns.parquet` whose time differs."""
    a_s: float | None
    """Time of the event in a; None if it never happened."""
    b_s: float | None
    """The same in b."""


class RunDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between two runs."""

    a: str
    b: str
    identical: bool
    """Whether every number of the summaries and every row of the tables that both kept is equal, to the last bit."""
    settings: list[Differing]
    versions: list[Differing]
    metrics: list[NumberDiffering]
    jct: JctDifference | None
    """None if the traces differ."""
    parting: Parting | None
    """None if the runs agree in every turn, the traces differ, or one run kept no `turns.parquet`."""

    def to_json(self) -> str:
        """Return the differences as indented JSON."""
        return to_json(self)


class ComparisonDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between two comparisons of the same runs."""

    a: str
    b: str
    identical: bool
    runs: dict[str, RunDifference]
    """Path of a run within its comparison -> its differences."""

    def to_json(self) -> str:
        """Return the differences as indented JSON."""
        return to_json(self)


def diff(a: str | PathLike[str], b: str | PathLike[str]) -> RunDifference | ComparisonDifference:
    """Return the differences between two runs, or between two comparisons of the same policies and seeds.

    Raises
    ------
    ConfigError
        If a directory holds neither, or the two cannot be compared.
    """
    places = [Path(a), Path(b)]
    for place in places:
        refuse_unfinished(place)
    compared = [(place / COMPARISON).is_file() for place in places]
    if compared == [False, False]:
        return diff_runs(load_run(places[0]), load_run(places[1]))
    if compared != [True, True]:
        one, other = places if compared[0] else reversed(places)
        raise ConfigError(
            f"{one} is a comparison and {other} is not: give two comparisons, or two runs (such as {one}/runs/…)"
        )
    names = [read_manifest(place / MANIFEST, ComparisonParts)[1].runs for place in places]
    if set(names[0]) != set(names[1]):
        only = sorted(set(names[0]) ^ set(names[1]))[0]
        raise ConfigError(
            f"{a} and {b} compare different policies or seeds (only one has {only}): give a run of each instead"
        )
    runs = {name: diff_runs(*(load_run(place / name) for place in places)) for name in names[0]}
    return ComparisonDifference(a=str(a), b=str(b), identical=all(one.identical for one in runs.values()), runs=runs)


def diff_runs(a: RunResult, b: RunResult) -> RunDifference:
    """Return the differences between two runs."""
    metrics = list(_metrics(a.summary, b.summary))
    tables = {name: (_table(a, name), _table(b, name)) for name in COLUMNS}
    exact = dict(_numbers(a.summary)) | {"wall_s": 0} == dict(_numbers(b.summary)) | {"wall_s": 0}
    same = exact and all(ours is None or theirs is None or ours.equals(theirs) for ours, theirs in tables.values())
    shares_trace = _sha256(a) == _sha256(b)
    return RunDifference(
        a=str(a.directory or a),
        b=str(b.directory or b),
        identical=same,
        settings=list(_settings(a.manifest, b.manifest)),
        versions=list(_versions(a.manifest, b.manifest)),
        metrics=metrics,
        jct=_jct(*tables["programs"]) if shares_trace else None,
        parting=_parting(*tables["turns"]) if shares_trace and not same else None,
    )


def _sha256(run: RunResult) -> Any:
    trace = run.manifest.get("trace")
    return trace.get("sha256") if isinstance(trace, dict) else None


def _table(run: RunResult, name: str) -> pa.Table | None:
    try:
        return run.table(name)
    except ConfigError:
        return None


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Differing]:
    """Yield the settings that differ, and the resolved values whose difference none of these settings explains."""
    asked = [_asked(manifest) for manifest in (a, b)]
    if not all(asked):  # manifests of earlier versions lack the settings as asked for
        asked = [_came_to(manifest) for manifest in (a, b)]
    differing = [part for part in _pairs(*asked) if part.name != "trace"]
    told = {part.name for part in differing}
    yield from _pairs(
        *(
            {"trace": one.get("trace"), "trace.sha256": _of(m, "trace", "sha256")}
            for one, m in zip(asked, (a, b), strict=True)
        )
    )
    yield from differing
    for key in _LOOKED_UP:
        if key not in told:
            yield from _pairs(_flat(a.get(key), key), _flat(b.get(key), key))
    if "arrivals" not in told:
        yield from _pairs({"arrivals": a.get("arrivals")}, {"arrivals": b.get("arrivals")})
    values = {(str(part.a), str(part.b)) for part in differing}
    for part in _pairs(*(_flat(m.get("engine_config"), "engine_config") for m in (a, b))):
        if part.name.rpartition(".")[2] not in told and (str(part.a), str(part.b)) not in values:
            yield part


def _asked(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {**(manifest.get("settings") or {}), **(manifest.get("objects") or {})}


def _came_to(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved values of settings, under the settings' names."""
    names = ("seed", "tensor_parallel_size", "gpu_memory_utilization", "engine", "router", "replicas")
    tools = ("tool_workers", "tool_timeout", "tool_failure_rate", "tool_retries")
    return {
        **{part: _of(manifest, part, "name") for part in ("trace", "policy", "model", "gpu")},
        **{name: _of(manifest, "trace", name) for name in ("limit", "max_turns", "repeat_turns")},
        **{name: manifest.get(name) for name in (*names, *tools)},
    }


def _of(manifest: Mapping[str, Any], part: str, key: str) -> Any:
    found = manifest.get(part)
    return found.get(key) if isinstance(found, Mapping) else None


def _versions(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Differing]:
    yield from _pairs(*({**(m.get("versions") or {}), "commit": m.get("commit")} for m in (a, b)))


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Differing]:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            yield Differing(name, a.get(name), b.get(name))


def _flat(value: Any, name: str) -> dict[str, Any]:
    """Return the leaves of a JSON value by their path of keys."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {key: leaf for inner, item in value.items() for key, leaf in _flat(item, f"{name}.{inner}").items()}


def _metrics(a: Summary, b: Summary) -> Iterator[NumberDiffering]:
    ours, theirs = dict(_numbers(a)), dict(_numbers(b))
    for name in dict.fromkeys([*ours, *theirs]):
        x, y = ours.get(name), theirs.get(name)
        if name in _NO_RESULTS:
            continue
        if x is None or y is None:
            yield NumberDiffering(name, x, y, None, None)
        elif not math.isclose(x, y, rel_tol=_ROUNDING):
            yield NumberDiffering(name, x, y, y - x, y / x if x else None)


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float | int]]:
    """Yield every number of a summary with its path; items of lists are named by index."""
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _numbers(getattr(value, field), f"{name}.{field}" if name else field)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _numbers(item, f"{name}.{place}")
    elif isinstance(value, int | float):
        yield name, value


def _jct(a: pa.Table | None, b: pa.Table | None) -> JctDifference | None:
    if a is None or b is None:
        return None
    ours, theirs = (_of_programs(table) for table in (a, b))
    if not ours.index.equals(theirs.index):
        return None
    x, y = ours.to_numpy(), theirs.to_numpy()
    faster, slower = y < x * (1 - _ROUNDING), y > x * (1 + _ROUNDING)
    equal = len(x) - int(faster.sum()) - int(slower.sum())
    if equal == len(x):
        return JctDifference(len(x), 0.0, 1.0, 0, 0, equal)
    return JctDifference(
        programs=len(x),
        mean_difference_s=float(y.mean() - x.mean()),
        ratio=float(y.mean() / x.mean()),
        faster=int(faster.sum()),
        slower=int(slower.sum()),
        equal=equal,
    )


def _of_programs(table: pa.Table) -> pd.Series:
    """Return the JCT of every program except sub-agents, ordered by name."""
    frame = table.select(["program", "parent", "jct_s"]).to_pandas()
    jct_s: pd.Series = frame[frame["parent"].isna()].set_index("program")["jct_s"].sort_index()
    return jct_s


def _parting(a: pa.Table | None, b: pa.Table | None) -> Parting | None:
    if a is None or b is None:
        return None
    key = ["program", "turn"]
    frames = [table.select([*key, *EVENTS]).to_pandas() for table in (a, b)]
    both = frames[0].merge(frames[1], how="outer", on=key, suffixes=(".a", ".b"))
    first: tuple[float, int, int] | None = None
    for order, event in enumerate(EVENTS):
        x, y = both[f"{event}.a"].to_numpy(), both[f"{event}.b"].to_numpy()
        differs = np.flatnonzero(~np.isclose(x, y, rtol=_ROUNDING, atol=0))
        if len(differs):
            times = np.fmin(x, y)[differs]
            found = (float(times.min()), order, int(differs[times.argmin()]))
            first = found if first is None else min(first, found)
    if first is None:
        return None
    time_s, order, row = first
    event = list(EVENTS)[order]
    at = both.iloc[row]
    x, y = (float(at[f"{event}.{side}"]) for side in "ab")
    return Parting(
        time_s=time_s,
        program=str(at["program"]),
        turn=int(at["turn"]),
        event=event,
        a_s=None if np.isnan(x) else x,
        b_s=None if np.isnan(y) else y,
    )
