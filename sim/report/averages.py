"""Average over bins of time what holds during intervals."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]


def average_open(edges_s: Array, starts_s: Array, ends_s: Array) -> Array:
    """Return how many intervals, which may overlap, are open on average in each bin between `edges_s`.

    By time t an interval has been open for `(t − start)⁺ − (t − end)⁺`; with sorted times, each sum is cumulative.
    """
    open_s = _since(edges_s, starts_s) - _since(edges_s, ends_s)
    return _slopes(edges_s, open_s)


def _since(at_s: Array, from_s: Array) -> Array:
    """Return Σ (t − from)⁺ at every t."""
    ordered = np.sort(from_s)
    sums = np.append(0.0, np.cumsum(ordered))
    begun = np.searchsorted(ordered, at_s, side="right")
    since_s: Array = begun * at_s - sums[begun]
    return since_s


def average_of(edges_s: Array, starts_s: Array, ends_s: Array, values: Array) -> Array:
    """Return the average in each bin between `edges_s` of a value given for ordered intervals and 0 between them."""
    if not len(starts_s):
        return np.zeros(len(edges_s) - 1)
    integral = np.append(0.0, np.cumsum(values * (ends_s - starts_s)))
    moments_s = np.column_stack([starts_s, ends_s]).ravel()
    reached = np.column_stack([integral[:-1], integral[1:]]).ravel()
    return _slopes(edges_s, np.interp(edges_s, moments_s, reached))


def _slopes(edges_s: Array, integral: Array) -> Array:
    slopes: Array = np.diff(integral) / np.diff(edges_s)
    return slopes


def time_edges(instants_s: Array, end_s: float, most_bins: int) -> tuple[Array, bool]:
    """Return edges of bins from 0 to `end_s`: the instants themselves if they are few enough, otherwise equal bins.

    Returns
    -------
    edges_s, exact
        The edges, and whether nothing changes inside a bin.
    """
    edges_s = np.unique(np.concatenate([[0.0, end_s], instants_s]))
    if len(edges_s) <= most_bins + 1:
        return edges_s, True
    return np.linspace(0.0, end_s, most_bins + 1), False
