"""Several policies on the same seeds: one row per policy, and how each differs from the baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from continuum_sim.results.estimate import MIN_EFFECT, pooled
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.measured import all_drawn, counted_jct_s
from continuum_sim.results.paired import PairedDifference, paired_differences
from continuum_sim.results.recovered import JointRecovery, joint_recovery
from continuum_sim.results.summary import Pins, Prefill, Quantiles, Summary, TimeSplit
from continuum_sim.results.survival import AtEnds
from continuum_sim.results.verdicts import joint_verdict
from continuum_sim.results.view.shown import Shown
from continuum_sim.steady.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from continuum_sim.results.view import View


class Congested(msgspec.Struct, frozen=True):
    """A policy's congested rate: what it serves with 5 times as many programs as fit the KV cache."""

    per_s: float
    """Programs' worth of work per second."""
    fits: float
    """Number of programs that fit the KV cache."""


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One policy over all seeds: JCT over all its programs, times per program, everything else the mean of its runs."""

    policy: str
    seeds: int
    programs: int
    """Programs over all seeds."""
    jct_mean_s: float
    jct_mean_low_s: float = math.nan
    """95 % interval of the mean; NaN for one run, and in files of versions without intervals."""
    jct_mean_high_s: float = math.nan
    jct_p50_s: float
    jct_p90_s: float
    jct_p95_s: float
    jct_p99_s: float
    jct_max_s: float
    queue_s: float
    prefill_s: float
    decode_s: float
    tool_s: float
    tool_wait_s: float
    join_s: float
    programs_per_s: float
    output_tokens_per_s: float
    computed_tokens: float
    cached_tokens: float
    recomputed_tokens: float
    preemptions: float
    pins_made: float
    pins_hit: float
    pins_expired: float
    pins_broken: float
    peak_used_share: float
    router: str | msgspec.UnsetType = msgspec.UNSET
    """Like `moved_turns` and `busiest_ratio`, only for a cluster."""
    moved_turns: float | msgspec.UnsetType = msgspec.UNSET
    busiest_ratio: float | msgspec.UnsetType = msgspec.UNSET
    """Turns of the replica that served most, divided by the mean over all replicas."""
    reload_s: float
    preempted_s: float = 0.0
    retry_s: float = 0.0
    reloaded_tokens: float
    verdict: Verdict | None = None
    """Verdict on its runs together; None if the version of one had no verdicts."""
    recovery: JointRecovery | None = None
    """Only with a burst."""
    congested: Congested | None = None
    """None if the load has no rate, does not hold, or is too short to be a service's."""
    tpot_p50_s: float | msgspec.UnsetType = msgspec.UNSET
    """Like the fields below, left out if a run lacks it, as runs of earlier versions do."""
    tpot_p90_s: float | msgspec.UnsetType = msgspec.UNSET
    interactivity_p90_tokens_per_s: float | msgspec.UnsetType = msgspec.UNSET
    slowdown_mean: float | msgspec.UnsetType = msgspec.UNSET
    slowdown_p95: float | msgspec.UnsetType = msgspec.UNSET
    jain: float | msgspec.UnsetType = msgspec.UNSET
    program_share: float | msgspec.UnsetType = msgspec.UNSET
    """Share of programs within all objectives about programs; only if there are such objectives."""
    turn_share: float | msgspec.UnsetType = msgspec.UNSET
    """The same for turns."""
    gpu_hours_per_program: float | msgspec.UnsetType = msgspec.UNSET
    usd_per_program: float | msgspec.UnsetType = msgspec.UNSET
    """Left out if a GPU has no price."""
    notes: list[str]
    """Notes of all its runs, each once; a note that not all runs share says in how many it occurs."""


class ComparedRun(msgspec.Struct, frozen=True):
    """The part of one run that a comparison keeps."""

    summary: Summary
    programs: Any
    """The run's `programs` table (Arrow)."""


class CompareResult(Shown):
    """Several policies side by side.

    Parameters
    ----------
    runs
        One per policy and seed, policies in the order asked for, the same seeds for each.
    baseline
        The policy that the others are measured against.
    directory
        Where the runs were written; None if they were not.
    congested
        Policy -> its congested rate, for policies where it was measured.
    min_effect
        Smallest difference of a ratio from 1 that makes a verdict.
    at_ends
        Whether differences survive the error of step times, where they have one and few seeds are compared.
    """

    def __init__(
        self,
        runs: Sequence[ComparedRun],
        baseline: str,
        directory: Path | None = None,
        congested: Mapping[str, Congested] | None = None,
        *,
        min_effect: float = MIN_EFFECT,
        at_ends: Sequence[AtEnds] = (),
    ) -> None:
        self.runs = list(runs)
        self.baseline = baseline
        self.directory = directory
        self.min_effect = min_effect
        self.at_ends = list(at_ends)
        self._congested = dict(congested or {})
        self.policies = list(dict.fromkeys(run.summary.policy for run in runs))
        self.seeds = list(dict.fromkeys(run.summary.seed for run in runs))

    def __repr__(self) -> str:
        means = ", ".join(f"{row.policy} {row.jct_mean_s:.4g} s" for row in self.rows)
        return f"<CompareResult over seeds {self.seeds}: mean JCT {means}>"

    def view(self) -> View:
        """Return the comparison as the rows of text that terminal, page and notebook show."""
        from continuum_sim.results.view.comparison import comparison_view

        return comparison_view(self.rows, self.paired, self.summaries, at_ends=self.at_ends)

    @property
    def summaries(self) -> list[Summary]:
        """The summaries of all runs, policy by policy."""
        return [run.summary for run in self.runs]

    @property
    def drawn(self) -> bool:
        """Whether each run drew its own programs."""
        return all_drawn(self.summaries)

    @cached_property
    def rows(self) -> list[ComparisonRow]:
        """One row per policy, in the order asked for."""
        return [self._row(policy) for policy in self.policies]

    @cached_property
    def paired(self) -> list[PairedDifference]:
        """Every other policy against the baseline, for the mean and each percentile of the JCT."""
        jct_s = {policy: self._jct_by_seed(policy) for policy in self.policies}
        others = [policy for policy in self.policies if policy != self.baseline]
        return [
            difference
            for policy in others
            for difference in paired_differences(
                policy,
                self.baseline,
                jct_s[policy],
                jct_s[self.baseline],
                drawn=self.drawn,
                min_effect=self.min_effect,
            )
        ]

    @property
    def table(self) -> pd.DataFrame:
        """`rows` as a data frame indexed by policy; `recovery` is the number of runs that recover."""
        import pandas as pd

        rows = [
            {
                **msgspec.to_builtins(row),
                "verdict": row.verdict and row.verdict.kind,
                "recovery": row.recovery and row.recovery.recovered,
            }
            for row in self.rows
        ]
        return pd.DataFrame(rows).set_index("policy")

    @property
    def differences(self) -> pd.DataFrame:
        """`paired` as a data frame."""
        import pandas as pd

        return pd.DataFrame([item.plain() for item in self.paired])

    @cached_property
    def programs(self) -> pd.DataFrame:
        """One row per policy, seed and program."""
        import pandas as pd

        frames = []
        for run in self.runs:
            frame = run.programs.to_pandas()
            frame.insert(0, "policy", run.summary.policy)
            frame.insert(1, "seed", run.summary.seed)
            frames.append(frame)
        joined: pd.DataFrame = pd.concat(frames, ignore_index=True)
        return joined

    def to_json(self) -> str:
        """Return rows, differences and all summaries as indented JSON."""
        return to_json(
            {
                "baseline": self.baseline,
                "seeds": self.seeds,
                "policies": self.rows,
                "min_effect": self.min_effect,
                "differences": [item.plain() for item in self.paired],
                **({"at_ends": self.at_ends} if self.at_ends else {}),
                "runs": self.summaries,
            }
        )

    def _row(self, policy: str) -> ComparisonRow:
        runs = [s for s in self.summaries if s.policy == policy]
        samples = list(self._jct_by_seed(policy).values())
        jct_s = np.concatenate(samples)
        mean_s = pooled("mean", samples, drawn=self.drawn)
        means: dict[str, Any] = {
            **{f"jct_{name}_s": value for name, value in msgspec.to_builtins(Quantiles.of(jct_s)).items()},
            **{f"{part}_s": fmean(getattr(s.time_s, part) for s in runs) for part in TimeSplit.__struct_fields__},
            **{f"pins_{end}": fmean(getattr(s.pins, end) for s in runs) for end in Pins.__struct_fields__},
            **{kind: fmean(getattr(s.prefill, kind) for s in runs) for kind in Prefill.__struct_fields__},
            **_cluster(runs),
            **_served_users(runs),
        }
        return ComparisonRow(
            policy=policy,
            seeds=len(runs),
            programs=len(jct_s),
            jct_mean_low_s=mean_s.low,
            jct_mean_high_s=mean_s.high,
            **means,
            programs_per_s=fmean(s.throughput.programs_per_s for s in runs),
            output_tokens_per_s=fmean(s.throughput.output_tokens_per_s for s in runs),
            preemptions=fmean(s.preemptions for s in runs),
            peak_used_share=fmean(s.kv.peak_used_share for s in runs),
            verdict=joint_verdict(runs),
            recovery=joint_recovery(runs),
            congested=self._congested.get(policy),
            notes=_notes(runs),
        )

    def _jct_by_seed(self, policy: str) -> dict[int, np.ndarray]:
        """Return seed -> JCT of every program that counts, by name: the same order for all policies."""
        found = {}
        for run in self.runs:
            if run.summary.policy == policy:
                found[run.summary.seed] = counted_jct_s(run.programs, run.summary)
        return found


def _notes(runs: Sequence[Summary]) -> list[str]:
    counts = Counter(note for run in runs for note in run.notes)
    return [note if n == len(runs) else f"{note} (in {n} of {len(runs)} runs)" for note, n in counts.items()]


_SERVED_USERS: Final = {
    "tpot_p50_s": ("tpot_s", "p50"),
    "tpot_p90_s": ("tpot_s", "p90"),
    "interactivity_p90_tokens_per_s": ("interactivity_tokens_per_s", "p90"),
    "slowdown_mean": ("slowdown", "mean"),
    "slowdown_p95": ("slowdown", "p95"),
    "jain": ("fairness", "jain"),
    "program_share": ("slo", "program_share"),
    "turn_share": ("slo", "turn_share"),
    "gpu_hours_per_program": ("cost", "gpu_hours_per_program"),
    "usd_per_program": ("cost", "usd_per_program"),
}
"""Entry of a row -> part and entry of a summary that may hold it."""


def _served_users(runs: Sequence[Summary]) -> dict[str, float]:
    """Return the entries of a row on latency, fairness and cost that all runs have."""
    means = {}
    for name, (part, entry) in _SERVED_USERS.items():
        found = [getattr(getattr(run, part), entry, msgspec.UNSET) for run in runs]
        known = [value for value in found if isinstance(value, float)]
        if len(known) == len(runs):
            means[name] = fmean(known)
    return means


def _cluster(runs: Sequence[Summary]) -> dict[str, Any]:
    """Return the extra entries of a cluster's row, on routing; empty without a cluster."""
    moved, busiest = [], []
    for run in runs:
        if not run.replicas or run.moved_turns is msgspec.UNSET:
            return {}
        moved.append(run.moved_turns)
        busiest.append(max(part.turns for part in run.replicas) * len(run.replicas) / run.turns)
    return {"router": runs[0].router, "moved_turns": fmean(moved), "busiest_ratio": fmean(busiest)}
