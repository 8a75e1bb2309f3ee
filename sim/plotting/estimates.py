"""Estimates over runs as columns of tables, with the intervals that pictures draw as bands and whiskers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.data import JCT, MissingData
from continuum_sim.results.estimate import Estimate, averaged, averaged_ratio, pooled, pooled_ratio
from continuum_sim.results.measured import PROGRAM_JCT

_STATISTICS: Final = {f"jct_{name}_s": name for name in JCT}
"""Column -> statistic of the JCT."""
_BELOW: Final = "below_"
"""Prefix of the baseline's columns."""


def interval_note(*, drawn: bool, of: str = "value") -> str:
    """Return a note on what the estimates of a figure are, and what their intervals cover."""
    about = "other programs of this kind and other arrivals" if drawn else "these programs under other arrivals"
    return f"{of} over the programs of all seeds and its 95 % Student t interval over seeds, for {about}"


def estimate_each(
    cells: pd.DataFrame, by: Sequence[str], value: str, *, drawn: bool, weights: str | None = None, logs: bool = True
) -> pd.DataFrame:
    """Estimate a column over the runs of every group; one row per group, in the order the groups first appear.

    Statistics of the JCT are over the programs of all runs together if these are known (see `FigureData.with_jct`);
    anything else is a mean over runs.

    Parameters
    ----------
    drawn
        Whether each run drew its own programs.
    weights
        Column with the weight of each run in the mean; equal weights if None.
    logs
        Whether intervals are computed on logarithms; not for values that may be 0.

    Returns
    -------
    frame
        The columns of `by`, then `value`, `low`, `high`, `seeds`.
    """
    rows = []
    for key, group in cells.groupby(list(by), sort=False, dropna=False):
        samples = _samples(group, value)
        if samples is not None:
            found = pooled(_STATISTICS[value], samples, drawn=drawn)
        else:
            counts = None if weights is None else group[weights].to_numpy()
            found = averaged(group[value].to_numpy(), drawn=drawn, weights=counts, logs=logs)
        rows.append((*_tuple(key), *found))
    return pd.DataFrame(rows, columns=[*by, *Estimate._fields])


def ratio_each(
    cells: pd.DataFrame, by: Sequence[str], value: str, baseline: str, *, drawn: bool, weights: str | None = None
) -> pd.DataFrame:
    """Like `estimate_each`, for the ratio to the policy `baseline` under the same seed and the same values of `by`.

    Rows without a counterpart of the baseline are left out.
    """
    keys = [*by, "seed"]
    base = cells[cells["policy"] == baseline].set_index(keys)
    taken = [name for name in (value, PROGRAM_JCT, weights) if name is not None and name in cells]
    paired = cells.join(base[taken].add_prefix(_BELOW), on=keys, how="inner")
    rows = []
    for key, group in paired.groupby([*by, "policy"], sort=False, dropna=False):
        above, below = (_samples(group, value, prefix) for prefix in ("", _BELOW))
        if above is not None and below is not None:
            found = pooled_ratio(_STATISTICS[value], above, below, drawn=drawn)
        else:
            values = [group[f"{prefix}{value}"].to_numpy() for prefix in ("", _BELOW)]
            counts: Any = None
            if weights is not None:
                counts = tuple(group[f"{prefix}{weights}"].to_numpy() for prefix in ("", _BELOW))
            found = averaged_ratio(*values, drawn=drawn, weights=counts)
        rows.append((*_tuple(key), *found))
    return pd.DataFrame(rows, columns=[*by, "policy", "ratio", "low", "high", "seeds"])


def in_order(table: pd.DataFrame, policies: Sequence[str]) -> pd.DataFrame:
    """Return the rows policy by policy, keeping the order within each policy."""
    ranks = table["policy"].map(list(policies).index)
    return table.loc[ranks.sort_values(kind="stable").index].reset_index(drop=True)


def _samples(group: pd.DataFrame, value: str, prefix: str = "") -> list[np.ndarray] | None:
    """Return the JCT of every program of each run if `value` is a statistic of it; None if not, or if they are unknown.

    A mean can do without them, and so can a single run, which has its own statistic.

    Raises
    ------
    MissingData
        For a percentile over several runs, if one lacks its programs.
    """
    if value not in _STATISTICS:
        return None
    column = f"{prefix}{PROGRAM_JCT}"
    if column in group and group[column].notna().all():
        return list(group[column])
    if _STATISTICS[value] == "mean" or len(group) == 1:
        return None
    lacking = group.iloc[0] if column not in group else group[group[column].isna()].iloc[0]
    raise MissingData(f"needs programs.parquet of every run; {lacking['policy']}, seed {lacking['seed']} has none")


def _tuple(key: object) -> tuple[object, ...]:
    return key if isinstance(key, tuple) else (key,)
