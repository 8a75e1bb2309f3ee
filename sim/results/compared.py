"""Several policies on the same seeds: one row a policy, and how each differs from the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from continuum_sim.results.files import staged_directory
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.paired import METRICS, PairedDifference, paired_difference
from continuum_sim.results.summary import Pins, Prefill, Quantiles, Summary, Throughput, TimeSplit

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One policy over all seeds: JCT over all its programs, everything else as the mean of its runs."""

    policy: str
    seeds: int
    programs: int
    """Over all seeds."""
    jct_s: Quantiles
    time_s: TimeSplit
    time_share: TimeSplit
    throughput: Throughput
    prefill: Prefill
    preemptions: float
    pins: Pins
    peak_used_share: float
    notes: list[str]
    """Those of all its runs, each once."""


class Run(msgspec.Struct, frozen=True):
    """What a comparison keeps of one run."""

    summary: Summary
    programs: Any
    """The run's `programs` table (Arrow)."""


class CompareResult:
    """Several policies side by side.

    Parameters
    ----------
    runs
        One a policy and seed, policies in the order asked for, the same seeds for each.
    baseline
        The policy the others are measured against.
    directory
        Where the runs were written, if they were.
    """

    def __init__(self, runs: Sequence[Run], baseline: str, directory: Path | None = None) -> None:
        self.runs = list(runs)
        self.baseline = baseline
        self.directory = directory
        self.policies = list(dict.fromkeys(run.summary.policy for run in runs))
        self.seeds = list(dict.fromkeys(run.summary.seed for run in runs))

    def __repr__(self) -> str:
        means = ", ".join(f"{row.policy} {row.jct_s.mean:.4g} s" for row in self.rows)
        return f"<CompareResult over seeds {self.seeds}: mean JCT {means}>"

    @property
    def summaries(self) -> list[Summary]:
        """The summaries of all runs, policy by policy."""
        return [run.summary for run in self.runs]

    @cached_property
    def rows(self) -> list[ComparisonRow]:
        """One row a policy, in the order asked for."""
        return [self._row(policy) for policy in self.policies]

    @cached_property
    def paired(self) -> list[PairedDifference]:
        """Every policy but the baseline against it, for the mean and each percentile of the JCT."""
        jct_s = {policy: self._jct_by_seed(policy) for policy in self.policies}
        others = [policy for policy in self.policies if policy != self.baseline]
        return [
            paired_difference(
                policy,
                self.baseline,
                jct_s[policy],
                jct_s[self.baseline],
                metric=metric,
                # From the seeds alone: the intervals do not depend on which other policies are compared.
                rng=np.random.default_rng(self.seeds),
            )
            for policy in others
            for metric in METRICS
        ]

    @property
    def table(self) -> pd.DataFrame:
        """`rows` as a data frame, indexed by policy."""
        import pandas as pd

        return pd.json_normalize([msgspec.to_builtins(row) for row in self.rows], sep=".").set_index("policy")

    @property
    def differences(self) -> pd.DataFrame:
        """`paired` as a data frame."""
        import pandas as pd

        rows = [{**msgspec.to_builtins(item), "beyond_noise": item.beyond_noise} for item in self.paired]
        return pd.DataFrame(rows)

    @cached_property
    def programs(self) -> pd.DataFrame:
        """One row a policy, seed and program."""
        import pandas as pd

        frames = []
        for run in self.runs:
            frame = run.programs.to_pandas()
            frame.insert(0, "policy", run.summary.policy)
            frame.insert(1, "seed", run.summary.seed)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def to_json(self) -> str:
        """Return rows, differences and all summaries as indented JSON."""
        return to_json(
            {
                "baseline": self.baseline,
                "seeds": self.seeds,
                "policies": self.rows,
                "differences": [
                    {**msgspec.to_builtins(item), "beyond_noise": item.beyond_noise} for item in self.paired
                ],
                "runs": self.summaries,
            }
        )

    def _row(self, policy: str) -> ComparisonRow:
        runs = [s for s in self.summaries if s.policy == policy]
        jct_s = np.concatenate([*self._jct_by_seed(policy).values()])
        time_s = _mean_of([s.time_s for s in runs])
        return ComparisonRow(
            policy=policy,
            seeds=len(runs),
            programs=len(jct_s),
            jct_s=Quantiles.of(jct_s),
            time_s=time_s,
            time_share=_mean_of([s.time_share for s in runs]),
            throughput=_mean_of([s.throughput for s in runs]),
            prefill=_mean_of([s.prefill for s in runs]),
            preemptions=float(np.mean([s.preemptions for s in runs])),
            pins=_mean_of([s.pins for s in runs]),
            peak_used_share=float(np.mean([s.kv.peak_used_share for s in runs])),
            notes=list(dict.fromkeys(note for s in runs for note in s.notes)),
        )
