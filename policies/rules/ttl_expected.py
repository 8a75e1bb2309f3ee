"""`ttl-expected`: Continuum's cost model with the time a pin really lasts in place of its full length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from continuum_sim.policies import Durations, PinnedFirst, Preset, register_preset, register_retention
from continuum_sim.policies.rules.ttl import Ttl, smallest_best_s


@register_retention("ttl-expected")
@dataclass(frozen=True)
class TtlExpected(Ttl):
    """As `ttl`, but a pin of τ costs E[min(duration, τ)]: it ends when the tool returns, not at τ.

    τ* = argmax over τ in {0} ∪ {recorded durations} of P(τ)·(T̄·η + R(C)) − E[min(duration, τ)], the expectation
    over the same recorded durations. Ties go to the smallest τ. The cold start is that of `ttl`.
    """

    def best_s(self, durations: Durations, benefit_s: float) -> float:
        """Return τ* for these durations."""
        return best_expected_ttl_s(durations, benefit_s)


def best_expected_ttl_s(durations: Durations, benefit_s: float) -> float:
    """Return the τ in {0} ∪ durations with the largest P(τ)·benefit − E[min(duration, τ)]; the smallest on ties."""
    values_s, shares = durations.values_s, durations.shares
    if not len(values_s):
        return 0.0
    # E[min(d, τ)]: every d up to τ by its share, plus τ by the share of longer ones.
    returned_s = np.cumsum(values_s * np.diff(shares, prepend=0.0))
    gain_s = shares * benefit_s - (returned_s + values_s * (1.0 - shares))
    return smallest_best_s(values_s, gain_s)


register_preset(
    Preset(
        name="ttl-expected",
        rule="As ttl, but weighs a pin by the seconds it is expected to last, E[min(duration, τ)], instead of τ: "
        "the pin ends when the tool returns.",
        source="ours, after Continuum (arXiv 2511.02230) Eq. 2, which charges the full τ",
        order=PinnedFirst,
        retention=TtlExpected,
    )
)
