"""Differences between two policies on the same programs and arrivals, with intervals over runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from continuum_sim.results.estimate import (
    METRICS,
    MIN_EFFECT,
    Effect,
    effect,
    pooled_difference,
    pooled_ratio,
)


class PairedDifference(msgspec.Struct, frozen=True):
    """How a policy's JCT differs from the baseline's on the same programs and seeds.

    The interval bounds are NaN if each policy has only one run.
    """

    policy: str
    baseline: str
    metric: str
    """`mean`, or a percentile of the JCT over all programs of all runs."""
    difference_s: float
    """Policy minus baseline; negative is faster."""
    difference_low_s: float
    difference_high_s: float
    ratio: float
    """Policy over baseline; below 1 is faster."""
    ratio_low: float
    ratio_high: float
    pairs: int
    """Programs times seeds."""
    runs: int = 0
    """Seeds; 0 in files of earlier versions, which resampled programs or seeds for their intervals."""
    drawn: bool = False
    """Whether each run drew its own programs: the intervals then cover other programs, not only other arrivals."""
    verdict: Effect | None = None
    """None in such files."""

    @property
    def beyond_noise(self) -> bool:
        """Whether the verdict is faster or slower."""
        return self.verdict in ("faster", "slower")

    def plain(self) -> dict[str, Any]:
        """Return the fields and `beyond_noise` as a dictionary for JSON and data frames."""
        return {**msgspec.to_builtins(self), "beyond_noise": self.beyond_noise}


def paired_differences(
    policy: str,
    baseline: str,
    jct_s: Mapping[int, np.ndarray],
    baseline_jct_s: Mapping[int, np.ndarray],
    *,
    drawn: bool = False,
    min_effect: float = MIN_EFFECT,
) -> list[PairedDifference]:
    """Compare two policies on the same seeds and programs, one entry for each of `METRICS`.

    Parameters
    ----------
    jct_s, baseline_jct_s
        Seed -> JCT of every program. The baseline needs every seed of the other policy, with the same programs.
    drawn
        Whether each run drew its own programs.
    min_effect
        Smallest difference of the ratio from 1 that makes a verdict.
    """
    ours = list(jct_s.values())
    base = [baseline_jct_s[seed] for seed in jct_s]
    found = []
    for metric in METRICS:
        ratio = pooled_ratio(metric, ours, base, drawn=drawn)
        difference_s = pooled_difference(metric, ours, base, drawn=drawn)
        found.append(
            PairedDifference(
                policy=policy,
                baseline=baseline,
                metric=metric,
                difference_s=difference_s.value,
                difference_low_s=difference_s.low,
                difference_high_s=difference_s.high,
                ratio=ratio.value,
                ratio_low=ratio.low,
                ratio_high=ratio.high,
                pairs=sum(map(len, ours)),
                runs=len(ours),
                drawn=drawn,
                verdict=effect(ratio, min_effect),
            )
        )
    return found
