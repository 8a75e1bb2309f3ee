"""How similar the numbers of one program are."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np

# Practically equal; beyond this a program would be drawn as one number repeated.
_MOST: Final = 0.95


def intraclass_correlation(samples: Sequence[tuple[array[float], array[float]]]) -> float:
    """Return the share of variance that lies between programs, from 0 to 0.95.

    A sample (one per tool) pairs each number with its program. Numbers become normal scores within their sample,
    Φ⁻¹((rank - 1/2) / n), so that neither a tool's typical size nor a long tail matters. Uses the one-way
    random-effects estimate for groups of unequal size (Donner, International Statistical Review 54, 1986), at least 0.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    kept = [(np.asarray(values), np.asarray(groups)) for values, groups in samples if len(values) > 1]
    if not kept:
        return 0.0
    scores = np.concatenate([ndtri((rankdata(values) - 0.5) / len(values)) for values, _ in kept])
    _, group, sizes = np.unique(np.concatenate([groups for _, groups in kept]), return_inverse=True, return_counts=True)
    total, groups = len(scores), len(sizes)
    if groups < 2 or total <= groups:
        return 0.0
    means = np.bincount(group, weights=scores) / sizes
    between = float((sizes * (means - scores.mean()) ** 2).sum()) / (groups - 1)
    within = float(((scores - means[group]) ** 2).sum()) / (total - groups)
    size = (total - float((sizes**2).sum()) / total) / (groups - 1)
    spread = between + (size - 1) * within
    return float(f"{min(max((between - within) / spread, 0.0), _MOST):.6g}") if spread > 0 else 0.0
