"""The data of figures: a table with one row per run, and the runs' own tables if they were kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.splits import GPU_COUNTS
from continuum_sim.results.measured import PROGRAM_JCT, counted_jct_s, counted_programs, drawn_in
from continuum_sim.results.summary import KeptSlo, RunVerdict, Summary, TimeSplit
from continuum_sim.setup.notation import split_spec
from continuum_sim.steady.served import Served

JCT: Final = ("mean", "p50", "p90", "p95", "p99")
TIME_PARTS: Final = TimeSplit.__struct_fields__
SERVED: Final = ("served_per_s_value", "served_per_s_low", "served_per_s_high")
"""A point of the service curve; only for runs of closed loads."""
INTERACTIVITY: Final = "interactivity_tokens_per_s_p90"
GPU_TOKENS: Final = "output_tokens_per_gpu_s"
ATTAINMENT: Final = ("slo_program_share", "slo_turn_share")
"""Shares within the objectives; only for runs that have objectives."""
CAPACITY_RATES: Final = ("recoverable_per_s", "from_empty_per_s", "from_empty_median_per_s")
"""Rates that `capacity` found for a policy; only for points that come from `capacity`."""
METRICS: Final = (
    *(f"jct_{name}_s" for name in JCT),
    *(f"{part}_s" for part in TIME_PARTS),
    "programs_per_s",
    "output_tokens_per_s",
    "programs",
    "turns",
    "sim_s",
    "usable_blocks",
    INTERACTIVITY,
    GPU_TOKENS,
    *ATTAINMENT,
    *SERVED,
    *CAPACITY_RATES,
    "verdict_kind",
)
"""Columns of `FigureData.cells` that a run measured; every other column is a setting."""

_NO_SETTINGS: Final = frozenset(
    (
        *("created_at", "command", "versions", "platform", "wall_s", "seed", "policy", "arrivals", "engine"),
        *("schema_version", "commit", "settings", "objects"),
    )
)
"""Keys of a manifest that are not settings, or are taken from the summary or from resolved values instead; `engine` is
excluded because its modes give the same results."""


class MissingData(Exception):
    """Raised with what a figure lacks: `needs runs at two arrival rates or more; there is one (0.1)`."""


class Source(Protocol):
    """A run that provides its tables, and its summary if these have programs that do not count."""

    def table(self, name: str) -> Any:
        """Return `programs`, `turns` or `timeline` as an Arrow table; `ConfigError` if it was not kept."""
        ...


class FigureData:
    """Runs to draw.

    Parameters
    ----------
    cells
        One row per run: settings (`policy`, `seed`, `arrivals`, `rate`, `model`, …) and the columns of `METRICS`.
    sources
        The run of every row, or None if its tables were not kept.
    """

    def __init__(self, cells: pd.DataFrame, sources: Sequence[Source | None]) -> None:
        self.cells = cells.reset_index(drop=True)
        self._sources = list(sources)
        self._jct_s: dict[int, np.ndarray | None] = {}

    @property
    def policies(self) -> list[str]:
        """Policies in the order of the rows."""
        return list(dict.fromkeys(self.cells["policy"]))

    @property
    def drawn(self) -> bool:
        """Whether each run drew its own programs, so that intervals cover other programs too."""
        return drawn_in(self.cells)

    def with_jct(self) -> pd.DataFrame:
        """Return the table of runs with the JCTs of their programs, None for runs without them."""
        found = pd.Series([self._jct_of(source) for source in self._sources], dtype=object)
        return self.cells.assign(**{PROGRAM_JCT: found})

    def _jct_of(self, source: Source | None) -> np.ndarray | None:
        if source is None:
            return None
        if id(source) not in self._jct_s:
            try:
                programs = source.table("programs")
            except ConfigError:
                self._jct_s[id(source)] = None
            else:
                summary = getattr(source, "summary", None)
                known = programs.column("jct_s").to_numpy() if summary is None else counted_jct_s(programs, summary)
                self._jct_s[id(source)] = known
        return self._jct_s[id(source)]

    def rows(self) -> Iterator[tuple[dict[str, Any], Source | None]]:
        """Yield every run: its row as a mapping, and the run itself."""
        yield from zip(self.cells.to_dict("records"), self._sources, strict=True)

    def where(self, kept: pd.Series) -> FigureData:
        """Return the runs for which `kept` is true."""
        return self.reordered(np.flatnonzero(kept))

    def reordered(self, rows: Sequence[int] | np.ndarray) -> FigureData:
        """Return the runs at these positions, in this order."""
        found = FigureData(self.cells.iloc[list(rows)], [self._sources[at] for at in rows])
        found._jct_s = self._jct_s  # shared, so that each run is read only once
        return found

    def table(self, name: str, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
        """Return columns of one table of all runs after `policy` and `seed`; `optional` ones only if a run has them.

        Programs that do not count are left out.

        Raises
        ------
        MissingData
            If a run kept no such table.
        """
        parts = []
        for row, source in zip(self.cells[["policy", "seed"]].itertuples(index=False), self._sources, strict=True):
            try:
                if source is None:
                    raise ConfigError("no tables")
                whole = source.table(name)
                if name == "programs" and "parent" in whole.column_names:
                    whole = whole.filter(whole.column("parent").is_null())  # sub-agents are part of their parents
                    whole = counted_programs(whole, source.summary) if hasattr(source, "summary") else whole
                known = [column for column in optional if column in whole.column_names]
                part = whole.select([*columns, *known]).to_pandas()
            except KeyError:
                raise MissingData(
                    f"needs all of {name}.parquet, which a sweep does not keep; give results of run or compare"
                ) from None
            except ConfigError:
                raise MissingData(
                    f"needs {name}.parquet of every run; {row.policy}, seed {row.seed} has none"
                ) from None
            part.insert(0, "policy", row.policy)
            part.insert(1, "seed", row.seed)
            parts.append(part)
        joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
        if joined.empty:
            raise MissingData(f"needs rows in {name}.parquet; there are none")
        return joined


def measured(summary: Summary) -> dict[str, Any]:
    """Return the columns of `METRICS` for a run."""
    return {
        **{f"jct_{name}_s": getattr(summary.jct_s, name) for name in JCT},
        **{f"{part}_s": getattr(summary.time_s, part) for part in TIME_PARTS},
        "programs_per_s": summary.throughput.programs_per_s,
        "output_tokens_per_s": summary.throughput.output_tokens_per_s,
        "programs": summary.programs,
        "turns": summary.turns,
        "sim_s": summary.sim_s,
        "usable_blocks": summary.kv.blocks - 1,  # without vLLM's null block
        INTERACTIVITY: _number(summary.interactivity_tokens_per_s, "p90"),
        GPU_TOKENS: _number(summary.throughput, "output_tokens_per_gpu_s"),
        **{name: _number(summary.slo, name.removeprefix("slo_")) for name in ATTAINMENT},
        **dict(zip(SERVED, _served(summary), strict=True)),
        "verdict_kind": summary.verdict.kind if isinstance(summary.verdict, RunVerdict) else None,
    }


def _number(part: Any, name: str) -> float:
    """Return a number from a part of a summary, NaN if either is left out."""
    found = getattr(part, name, None)
    return found if isinstance(found, float) else math.nan


def _served(summary: Summary) -> tuple[float, float, float]:
    found = summary.served_per_s
    return (found.value, found.low, found.high) if isinstance(found, Served) else (math.nan,) * 3


def settings(summary: Summary, manifest: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a run that its files record, without those that follow from others."""
    found: dict[str, Any] = {
        "policy": summary.policy,
        "seed": summary.seed,
        "trace": summary.trace,
        "population": summary.population or "trace",
        **arrival_settings(summary.arrivals),
    }
    if isinstance(summary.slo, KeptSlo):
        found["slo"] = ",".join(f"{item.objective}={item.most:g}" for item in summary.slo.objectives)
    for key, value in (manifest or {}).items():
        if key in _NO_SETTINGS:
            continue
        if isinstance(value, list):
            found[key] = ", ".join(_item(item) for item in value)
        elif not isinstance(value, dict):
            found[key] = value
        elif key == "step_time":
            found |= {key: value.get("kind"), f"{key}_id": _digest(value)}
        elif key == "trace":
            found |= {
                f"{key}_id": value.get("sha256"),
                "limit": value.get("limit"),
                "max_turns": value.get("max_turns"),
                "repeat_turns": value.get("repeat_turns", 1.0),
            }
        elif key == "engine_config":
            found |= _engine(value)
        elif "name" in value:
            found[key] = value["name"]
        else:
            found |= {name: item for name, item in value.items() if not isinstance(item, dict | list)}
    asked = (manifest or {}).get("settings")
    if isinstance(asked, dict):
        found |= {"burst": asked.get("burst"), "start": asked.get("start", "empty"), "unfit": asked.get("unfit")}
    if manifest is not None:  # manifests have the sizes of a split that are not 1
        found |= {name: found.get(name, 1) for name in GPU_COUNTS}
    if found.get("gpu_memory_utilization") is not None:
        # Estimated blocks follow from the GPU, the model and the token budget, so they are not a setting.
        found["kv_blocks"] = None
    return found


def _engine(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in config.items() if not isinstance(value, dict | list)}
    tiers = found.pop("tiers", None) or config.get("tiers") or {}
    for name in ("dram", "ssd"):
        # A whole number of blocks: less than one block, a few MB, below what was asked for.
        found[f"{name}_gb"] = round(tiers.get(f"{name}_blocks", 0) * tiers.get("block_bytes", 0) / 1e9, 2)
    found["kv_blocks"] = found.pop("num_gpu_blocks", None)
    return found


def _item(value: Any) -> str:
    return str(value.get("gpu", value)) if isinstance(value, dict) else str(value)


def arrival_settings(arrivals: str) -> dict[str, Any]:
    """Split `gamma:cv=2,rate=0.1` into the process (`gamma:cv=2`) and its rate, which can be an axis of figures."""
    try:
        name, parameters = split_spec(arrivals)
        rate = float(parameters.pop("rate"))
    except (ConfigError, KeyError, ValueError):  # closed, trace, or a user's own arrival process
        return {"arrivals": arrivals, "rate": math.nan}
    rest = ",".join(f"{key}={value}" for key, value in parameters.items())
    return {"arrivals": f"{name}:{rest}" if rest else name, "rate": rate}


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def plain(value: Any) -> str:
    """Return a setting as people write it: 0.1, 4, lru."""
    if isinstance(value, float | np.floating):
        return f"{value:g}"
    return str(value)
