"""The row of a cell: its settings with defaults filled in, its summary flattened, and the JCT of every program."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from continuum_sim.engine.config import EngineConfig
from continuum_sim.results.measured import PROGRAM_JCT, counted_jct_s
from continuum_sim.results.result import RunResult
from continuum_sim.results.summary import Summary
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.sweeps.settings import RATE, kinds

if TYPE_CHECKING:
    import pyarrow as pa

CELL: Final = "cell"
RATE_COLUMN: Final = "rate_per_s"

_UNITS: Final = ("_s", "_share")
_SPEAK_FOR_THEMSELVES: Final = ("time_s", "time_share", "prefill", "throughput", "policy_activity")
"""Parts of the summary whose entries get no prefix: `queue_s`, `computed_tokens`, `programs_per_s`, …"""
_LEFT_OUT: Final = ("wall_s",)
"""Entries that differ between two equal runs, and would make equal datasets differ."""
_PLAIN: Final = {bool: "bool", int: "int64", float: "float64", str: "string"}

_SETTING_COLUMNS: Final = {"programs": "programs_asked"}
"""Setting -> its column, if a result already has the setting's name."""

_DERIVED: Final = {"cached_share": "float64", "busy_share": "float64", "pin_hit_share": "float64"}


@cache
def columns() -> Mapping[str, str]:
    """Return every column and its Arrow type: the identity, the settings, the results, the programs."""
    settings = {column_of(name): kind.arrow for name, kind in kinds().items() if name != RATE}
    results = {name: kind for name, kind, _ in _summary_columns()}
    return {CELL: "string", **settings, RATE_COLUMN: "float64", **results, **_DERIVED, PROGRAM_JCT: "list<float64>"}


def setting_columns() -> tuple[str, ...]:
    """Return the names of the columns that hold settings."""
    return (*(column_of(name) for name in kinds() if name != RATE), RATE_COLUMN)


def column_of(setting: str) -> str:
    """Return the name of the column of a setting."""
    return _SETTING_COLUMNS.get(setting, setting)


def arrow_schema(of: Mapping[str, str]) -> pa.Schema:
    """Return the Arrow schema of columns."""
    import pyarrow as pa

    ours = {"list<float64>": pa.list_(pa.float64()), "list<string>": pa.list_(pa.string()), "json": pa.string()}
    return pa.schema([(name, ours[kind] if kind in ours else pa.type_for_alias(kind)) for name, kind in of.items()])


def make_row(cell: str, run: ResolvedRun, result: RunResult) -> dict[str, Any]:
    """Return the row of a finished run that kept its `programs` table."""
    summary = result.summary
    raw = msgspec.to_builtins(summary)
    jct_s = counted_jct_s(result.table("programs"), summary)
    prompt_tokens = summary.prefill.computed_tokens + summary.prefill.cached_tokens
    row = {
        CELL: cell,
        **_settings(run),
        **{name: value for name, _, path in _summary_columns() if (value := _at(raw, path)) is not None},
        "cached_share": summary.prefill.cached_tokens / prompt_tokens,
        "busy_share": summary.busy_s / summary.sim_s / (len(summary.replicas or ()) or 1),
        "pin_hit_share": summary.pins.hit / summary.pins.made if summary.pins.made else None,
        PROGRAM_JCT: jct_s.tolist(),
    }
    return {name: _fit(row.get(name), kind) for name, kind in columns().items()}


def _settings(run: ResolvedRun) -> dict[str, Any]:
    """Return every setting with defaults filled in; the summary overrides some (policy, arrivals, router, …)."""
    config = run.config
    given = {column_of(item.name): getattr(config, item.name) for item in fields(RunConfig)}
    engine = {item.name: getattr(run.engine, item.name) for item in fields(EngineConfig)}
    return {
        **given,
        **{name: value for name, value in engine.items() if name in given and given[name] is None},
        RATE_COLUMN: getattr(run.arrivals, "rate", None),
        "model": run.model.name,
        "gpu": run.gpu.name,
        "step_time": config.step_time if isinstance(config.step_time, str) else type(config.step_time).__name__,
    }


def _fit(value: Any, kind: str) -> Any:
    """Convert a value to the column's type; objects without a column type become text."""
    if value is None or kind.startswith("list"):
        return value
    if kind == "json":
        return msgspec.json.encode(value).decode()
    if kind == "string" and not isinstance(value, str):
        if isinstance(name := getattr(value, "name", None), str):
            return name
        if isinstance(value, list | tuple) and all(hasattr(item, "name") for item in value):
            return ",".join(str(item.name) for item in value)
        return msgspec.json.encode(value, enc_hook=repr).decode()
    return float(value) if kind == "float64" else value


@cache
def _summary_columns() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return (column, Arrow type, path in the summary); an entry that is also a setting shares the setting's column."""
    settings = kinds()
    found = []
    for name, kind, path in _flatten(Summary, "", ()):
        if path[0] in _LEFT_OUT:
            continue
        if name in settings and name not in _SETTING_COLUMNS and settings[name].arrow != kind:
            name = f"summary_{name}"
        found.append((name, kind, path))
    return tuple(found)


def _flatten(struct: Any, outer: str, path: tuple[str, ...]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    hints = get_type_hints(struct)
    for name in struct.__struct_fields__:
        hint = _without_none(hints[name])
        full = _join(outer, name)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from _flatten(hint, full, (*path, name))
        elif hint == list[str]:
            yield full, "list<string>", (*path, name)
        else:
            plain = "string" if get_origin(hint) is Literal else _PLAIN.get(hint, "json")
            yield full, plain, (*path, name)


def _join(outer: str, name: str) -> str:
    """Join two names: `jct_s` and `mean` make `jct_mean_s`, `pins` and `hit` make `pins_hit`."""
    unit = "" if outer.endswith("_per_s") else next((unit for unit in _UNITS if outer.endswith(unit)), "")
    stem = outer.removesuffix(unit)
    if not outer:
        return name
    return f"{name}{unit}" if outer in _SPEAK_FOR_THEMSELVES else f"{stem}_{name}{unit}"


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        rest = [part for part in get_args(hint) if part not in (type(None), msgspec.UnsetType)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def _at(raw: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        raw = None if raw is None else raw.get(name)
    return raw
