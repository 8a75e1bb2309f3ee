"""The rows of a sweep and of a search for parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from continuum_sim.results.estimate import METRICS, pooled
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.measured import PROGRAM_JCT, drawn_in
from continuum_sim.results.numbers import percent, seconds
from continuum_sim.results.view.comparison import differences_table
from continuum_sim.results.view.parts import Block, Note, Table, View, label, name, numbers
from continuum_sim.traces.unfit import TOO_LONG

if TYPE_CHECKING:
    import pandas as pd

    from continuum_sim.sweeps.result import Failure, SweepResult
    from continuum_sim.sweeps.tuned import Tuned

_SHOWN: Final = {
    "mean JCT s": "jct_mean_s",
    "p95": "jct_p95_s",
    "p99": "jct_p99_s",
    "queue": "queue_s",
    "prefill": "prefill_s",
    "decode": "decode_s",
    "tool": "tool_s",
    "programs/h": "programs_per_s",
    "from cache": "from_cache_share",
    "busy": "busy_share",
}
"""Column of the table -> column of `sweep_rows`."""
_UNFIT: Final = {"left out": "unfit_dropped", "cut": "unfit_truncated"}
"""The same for programs too long for the engine, if there are any."""
_MOST_ROWS: Final = 60
_MOST_REASONS: Final = 20
_SHOWN_TRIALS: Final = 5
_EQUAL_RATIO: Final = 5e-4
"""Ratios closer to 1 than this print as 1.000."""
_ALIKE: Final = (
    "every setting tried gives the same JCT, so there was nothing to tune here: "
    "try a higher --rate, more programs (--limit) or less memory (--kv-blocks)"
)


def sweep_view(result: SweepResult) -> View:
    """Return the view of a sweep: one row per combination of the axes other than the seed; failures are notes."""
    blocks = [_cells(result)] if len(result) else []
    notes = [Note(line) for line in [*unfit_lines(result), *failure_lines(result.failures)]]
    return View(f"{len(result):,} cells in {result.directory}", blocks, notes)


def unfit_lines(result: SweepResult) -> list[str]:
    """Return which programs were left out or cut, each line once for all cells that share it."""
    if not len(result):
        return []
    told = result.table(["notes"]).column("notes").to_pylist()
    lines = list(dict.fromkeys(note for notes in told for note in notes if note.startswith(TOO_LONG)))
    more = len(lines) - _MOST_REASONS
    return [*lines[:_MOST_REASONS], *([f"… and {more:,} engines more"] if more > 0 else [])]


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    """Return why cells failed: one line per reason, with the settings that its cells share."""
    of_reason: dict[str, list[Failure]] = {}
    for failure in failures:
        of_reason.setdefault(failure.reason, []).append(failure)
    groups = list(of_reason.values())
    lines = [f"failed: {_alike(group)}" for group in groups[:_MOST_REASONS]]
    if len(groups) > _MOST_REASONS:
        lines.append(f"… and {sum(map(len, groups[_MOST_REASONS:])):,} cells more, in failures.json")
    return lines


def tuned_view(found: Tuned) -> View:
    """Return the view of a search: what it found, and how that does on seeds it has not seen."""
    failed = sum(trial.value_s is None for trial in found.trials)
    tried = f"{len(found.trials)} settings tried" + (f", {failed} of them did not work" if failed else "")
    blocks: list[Block] = [
        replace(_trials(found), note=f"{tried}, on seeds {_listed(found.tuning_seeds)}"),
        differences_table(found.held_out, f"On held-out seeds {_listed(found.held_out_seeds)}: what to believe"),
        differences_table(found.tuning, "On the seeds it was chosen by: too good by construction"),
    ]
    return View(f"{found.policy} → {found.best}", blocks, [Note(_ALIKE)] if all_alike(found) else [])


def all_alike(found: Tuned) -> bool:
    """Return True if no setting tried made a noticeable difference."""
    values_s = [trial.value_s for trial in found.trials if trial.value_s is not None]
    return len(values_s) > 1 and max(values_s) - min(values_s) <= _EQUAL_RATIO * min(values_s)


def sweep_rows(result: SweepResult) -> list[dict[str, Any]]:
    """Return one row per combination of the axes other than the seed: its values, results and number of seeds.

    Statistics of the JCT are over the programs of all seeds; everything else is a mean over seeds.
    """
    frame = result.frame(programs=True)
    scene = [name for name in result.axes if name != "seed"]
    # The column `cached_share` leaves out tokens held by memory tiers; this share is of all tokens asked for.
    asked_tokens = frame[["computed_tokens", "cached_tokens", "reloaded_tokens"]].fillna(0).sum(axis=1)
    frame["from_cache_share"] = frame["cached_tokens"] / asked_tokens
    told = [name for name in _SHOWN.values() if not name.startswith("jct_")]
    told += [name for name in _UNFIT.values() if name in frame and frame[name].notna().any()]
    rows = []
    for key, group in frame.groupby(scene, sort=False, dropna=False) if scene else [((), frame)]:
        where = dict(zip(scene, key if isinstance(key, tuple) else (key,), strict=True))
        rows.append({**where, **_jct(group), **group[[*told, "cached_share"]].mean(), "seeds": len(group)})
    return rows


def _jct(cells: pd.DataFrame) -> dict[str, float]:
    """Return statistics of the JCT over the programs of cells that differ in the seed, and the mean's interval."""
    samples, drawn = [np.asarray(jct_s) for jct_s in cells[PROGRAM_JCT]], drawn_in(cells)
    found = {metric: pooled(metric, samples, drawn=drawn) for metric in METRICS}
    mean_s = {"jct_mean_low_s": found["mean"].low, "jct_mean_high_s": found["mean"].high}
    return {**{f"jct_{metric}_s": item.value for metric, item in found.items()}, **mean_s}


def sweep_json(result: SweepResult) -> str:
    """Return the rows and the failures as JSON."""
    rows = sweep_rows(result) if len(result) else []
    return to_json({"cells": len(result), "rows": rows, "failures": [item.plain() for item in result.failures]})


def _cells(result: SweepResult) -> Table:
    rows = sweep_rows(result)
    scene = [axis for axis in result.axes if axis != "seed"]
    shown = _SHOWN | {title: column for title, column in _UNFIT.items() if any(row.get(column) for row in rows)}
    cells = [
        [
            *(_plain(row[axis]) for axis in scene),
            str(row["seeds"]),
            *(_number(title, row[column]) for title, column in shown.items()),
        ]
        for row in rows[:_MOST_ROWS]
    ]
    hint = f"the first {_MOST_ROWS} of {len(rows):,} rows; all of them with --json or from the dataset"
    columns = [*map(name, scene), *numbers("seeds", *shown)]
    return Table(columns, cells, note=hint if len(rows) > _MOST_ROWS else "")


def _number(title: str, value: float) -> str:
    if title in _UNFIT:
        return "–" if np.isnan(value) else f"{value:,g}"
    if title.startswith("programs"):
        return f"{3600 * value:,.1f}"
    return percent(value) if title in ("from cache", "busy") else seconds(value)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _alike(failures: Sequence[Failure]) -> str:
    first, *others = failures
    if not others:
        return str(first)
    shared = {
        name: value
        for name, value in first.settings.items()
        if all(name in other.settings and other.settings[name] == value for other in others)
    }
    return f"{len(failures):,} cells, {replace(first, settings=shared)}"


def _trials(found: Tuned) -> Table:
    worked = [(trial.value_s, trial.number, trial.parameters) for trial in found.trials if trial.value_s is not None]
    rows = [
        [str(number), *map(str, parameters.values()), seconds(value_s)]
        for value_s, number, parameters in sorted(worked, key=lambda one: one[:2])[:_SHOWN_TRIALS]
    ]
    return Table([label("trial"), *numbers(*found.parameters, f"{found.metric} JCT s")], rows)


def _listed(seeds: list[int]) -> str:
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))
