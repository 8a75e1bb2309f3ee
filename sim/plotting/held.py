"""Choose the runs that a picture may compare: those that differ only in what the picture shows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from continuum_sim.errors import ConfigError
from continuum_sim.plotting.data import METRICS, FigureData

_AXES = ("policy", "seed")
"""Never held fixed: pictures compare policies, and intervals are over seeds."""
_DERIVED = {"max_num_seqs": "max_num_batched_tokens"}
"""Setting -> the setting that caps its default in vLLM."""


def setting_columns(cells: pd.DataFrame) -> list[str]:
    """Return the columns that hold settings."""
    return [name for name in cells.columns if name not in METRICS]


def varying(cells: pd.DataFrame) -> list[str]:
    """Return the settings with two values or more."""
    names = [name for name in setting_columns(cells) if name not in _AXES]
    return [name for name in names if _as_keys(cells[name]).nunique() > 1]


def hold(data: FigureData, shown: Collection[str] = ()) -> tuple[FigureData, dict[str, Any]]:
    """Keep runs that differ only in policy, seed and the settings in `shown`.

    Any other setting that varies is held at one value: the arrival rate at the highest one at which the most policies
    ran, others at the value that the most runs have (the first of several).

    Returns
    -------
    data, held
        The runs kept, and the value at which each such setting was held.
    """
    held: dict[str, Any] = {}
    for name in varying(data.cells):
        keys = _as_keys(data.cells[name])
        if name in shown or keys.nunique() < 2 or _follows(data.cells, name, shown):
            continue
        chosen = _busiest(data.cells) if name == "rate" else keys.value_counts(sort=False).idxmax()
        held[name] = data.cells.loc[keys == chosen, name].iloc[0]
        data = data.where(keys == chosen)
    return data, held


def select(data: FigureData, wanted: Mapping[str, Sequence[str]]) -> FigureData:
    """Keep runs whose settings have one of the wanted values.

    Raises
    ------
    ConfigError
        For a setting or a value that no run has.
    """
    for name, values in wanted.items():
        if name not in setting_columns(data.cells):
            raise ConfigError(f"no setting {name!r} to choose by; there are {', '.join(setting_columns(data.cells))}")
        texts = [_comparable(value) for value in data.cells[name]]
        for value in values:
            if _comparable(value) not in texts:
                there = ", ".join(dict.fromkeys(map(str, texts)))
                raise ConfigError(f"no run has {name} = {value}; there are {there}")
        accepted = {_comparable(value) for value in values}
        data = data.where(pd.Series([text in accepted for text in texts]))
    return data


def _follows(cells: pd.DataFrame, name: str, shown: Collection[str]) -> bool:
    """Return True if a setting varies only because the engine derives it from one that is shown."""
    source = _DERIVED.get(name)
    return source in shown and bool((cells.groupby(source)[name].nunique() <= 1).all())


def _busiest(cells: pd.DataFrame) -> str:
    policies = cells.groupby("rate")["policy"].nunique()
    if policies.empty:
        return str(math.nan)
    return str(policies[policies == policies.max()].index.max())


def _as_keys(column: pd.Series) -> pd.Series:
    """Return values as text, so that a missing value counts as a value too."""
    return column.astype(str)


def _comparable(value: Any) -> float | str:
    """Return a form in which `0.10`, `0.1` and 0.1 are equal."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
