"""Estimates over seeds, with the intervals that pictures draw as bands and bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

LEVEL: Final = 0.95
T_INTERVAL: Final = "mean over seeds and its 95 % Student t interval"
RATIO_INTERVAL: Final = "geometric mean over seeds of the paired ratio and its 95 % Student t interval on the log scale"


class Estimate(NamedTuple):
    """A mean over seeds. The bounds are NaN where there is one seed."""

    value: float
    low: float
    high: float
    seeds: int


def over_seeds(sample: Sequence[float] | np.ndarray) -> Estimate:
    """Mean of one value a seed, with its Student t interval: mean ± t(n − 1) · s / √n."""
    values = np.asarray(sample, dtype=float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    from scipy.special import stdtrit  # Student's t quantile, without the weight of scipy.stats

    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - reach, mean + reach, n)


def ratio_over_seeds(above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray) -> Estimate:
    """Geometric mean of the ratios of paired values, one pair a seed, with the interval of their logarithms."""
    logs = over_seeds(np.log(np.asarray(above, dtype=float)) - np.log(np.asarray(below, dtype=float)))
    return Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.seeds)


def estimate_each(cells: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Estimate a column over the seeds of every group; one row a group, in the order the groups first appear.

    Returns
    -------
    frame
        The columns of `by`, then `value`, `low`, `high`, `seeds`.
    """
    groups = cells.groupby(list(by), sort=False, dropna=False)[value]
    rows = [(*_tuple(key), *over_seeds(group.to_numpy())) for key, group in groups]
    return pd.DataFrame(rows, columns=[*by, *Estimate._fields])


def ratio_each(cells: pd.DataFrame, by: Sequence[str], value: str, baseline: str) -> pd.DataFrame:
    """As `estimate_each`, for the ratio to the policy `baseline` under the same seed and the same values of `by`.

    Rows of policies and seeds that the baseline lacks are left out.
    """
    keys = [*by, "seed"]
    below = cells[cells["policy"] == baseline].set_index(keys)[value].rename("below")
    paired = cells.join(below, on=keys, how="inner")
    rows = []
    for key, group in paired.groupby([*by, "policy"], sort=False, dropna=False):
        rows.append((*_tuple(key), *ratio_over_seeds(group[value].to_numpy(), group["below"].to_numpy())))
    return pd.DataFrame(rows, columns=[*by, "policy", "ratio", "low", "high", "seeds"])


def in_order(table: pd.DataFrame, policies: Sequence[str]) -> pd.DataFrame:
    """Return the rows policy by policy, each policy's in the order they have."""
    ranks = table["policy"].map(list(policies).index)
    return table.loc[ranks.sort_values(kind="stable").index].reset_index(drop=True)


def _tuple(key: object) -> tuple[object, ...]:
    return key if isinstance(key, tuple) else (key,)
