"""Running sums and samples for the summary, so that the records themselves need not be kept."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from typing import Final

import numpy as np
from msgspec import UNSET, UnsetType

from continuum_sim.engine.token_gaps import TokenGaps
from continuum_sim.errors import SimulationError
from continuum_sim.results.summary import (
    RARE_PARTS,
    Fairness,
    KeptObjective,
    KeptSlo,
    LengthGroup,
    Measured,
    Prefill,
    Quantiles,
    TimeSplit,
)
from continuum_sim.results.tables import Columns
from continuum_sim.setup.slo import PROGRAM_SAMPLES, TURN_SAMPLES, Slo
from continuum_sim.steady.backlog import Backlog
from continuum_sim.steady.burst import Burst
from continuum_sim.steady.length import RunLength
from continuum_sim.steady.served import Served, served

_QUARTERS: Final = 4
_GOOD: Final = (
    (PROGRAM_SAMPLES, "program_share", "good_programs_per_s"),
    (TURN_SAMPLES, "turn_share", "good_turns_per_s"),
)
"""Samples that objectives are about, and the entries of `KeptSlo` for their share and rate."""


class Tally:
    """Running totals over programs and turns; eight samples at eight bytes a value, and gaps between tokens.

    Parameters
    ----------
    length
        Which programs count.
    burst
        Which programs belong to a burst.
    """

    def __init__(self, length: RunLength | None = None, burst: Burst | None = None) -> None:
        self._length = length or RunLength()
        self.burst = None if burst is None else burst.spec
        self._left_out = burst.mark if burst is not None and not burst.spec.counts else ""
        """Mark in the names of programs that never count, whenever they arrive; empty if there are none."""
        self._jct_s = array("d")
        self._queue_wait_s = array("d")
        self._ttft_s = array("d")
        self._e2el_s = array("d")
        self._tpot_s = array("d")
        """NaN for a turn of a single token."""
        self.gaps = TokenGaps(ends=self._length.cuts)
        """Filled by the simulation."""
        self._window_s = (-np.inf, np.inf)
        """First and last arrival that count."""
        self._arrival_s = array("d")
        """Arrival of each program in `_jct_s`."""
        self._alone_s = array("d")
        """JCT alone of each program in `_jct_s`; NaN if unknown."""
        self._given_up = array("b")
        """Whether each program in `_jct_s` was given up."""
        self._keep = self._length.cuts
        """Whether to keep what `select` needs, at a few more bytes per sample."""
        self._eligible = array("b")
        self._turn_eligible = array("b")
        """Whether each program and turn lacks the mark of those that never count."""
        self._turn_arrival_s = array("d")
        self._kept_split_s = array("d")
        """The parts of each program's JCT, one program after the other."""
        self._programs: np.ndarray | slice = slice(None)
        self._turns: np.ndarray | slice = slice(None)
        """The programs and turns that count."""
        self.backlog = Backlog()
        self.children = 0
        """Finished sub-agents."""
        self.turns = 0
        self.output_tokens = 0
        self.preemptions = 0
        self.fresh_tokens = 0
        """Tokens computed for the first time, summed over programs that have finished."""
        self._computed_tokens = 0
        self._cached_tokens = 0
        self._recomputed_tokens = 0
        self._reloaded_tokens = 0
        self._split_s = np.zeros(len(TimeSplit.__struct_fields__))

    def add_turns(self, columns: Columns) -> None:
        """Add finished turns."""
        turns = len(columns["turn"])
        arrival_s = np.array(columns["arrival_s"])
        self._queue_wait_s.frombytes((np.array(columns["scheduled_s"]) - arrival_s).tobytes())
        first_token_s, finish_s = np.array(columns["first_token_s"]), np.array(columns["finish_s"])
        self._ttft_s.frombytes((first_token_s - arrival_s).tobytes())
        self._e2el_s.frombytes((finish_s - arrival_s).tobytes())
        gaps = np.array(columns["output_tokens"], dtype=float) - 1
        gaps[gaps == 0] = np.nan
        self._tpot_s.frombytes(((finish_s - first_token_s) / gaps).tobytes())
        if self._keep:
            self._turn_arrival_s.frombytes(arrival_s.tobytes())
            self._turn_eligible.extend(self._may_count(columns))
        fresh_tokens = np.subtract(columns["computed_tokens"], columns["recomputed_tokens"])
        self.backlog.done(finish_s, fresh_tokens)
        # Python integers throughout: a sum over a long run must not overflow.
        output_tokens = sum(columns["output_tokens"])
        self.turns += turns
        self.output_tokens += output_tokens
        self.preemptions += sum(columns["preemptions"])
        # Decoding computes the KV of every output token but the last once; everything else is prefill.
        self._computed_tokens += sum(columns["computed_tokens"]) - (output_tokens - turns)
        self._cached_tokens += sum(columns["cached_tokens"])
        self._recomputed_tokens += sum(columns["recomputed_tokens"])
        self._reloaded_tokens += sum(columns["reloaded_tokens"])

    def add_programs(self, columns: Columns, fresh_tokens: Sequence[int]) -> None:
        """Add finished programs; sub-agents are only counted, since their time is part of their parents'.

        `fresh_tokens` has one entry per program that is not a sub-agent, with its sub-agents' tokens included.
        """
        parts = [f"{part}_s" for part in TimeSplit.__struct_fields__]
        children = sum(parent is not None for parent in columns["parent"])
        if children:
            self.children += children
            root = [parent is None for parent in columns["parent"]]
            columns = {
                name: list(compress(columns[name], root))
                for name in ("program", "jct_s", "arrival_s", "alone_s", "given_up", *parts)
            }
        if columns["jct_s"]:
            self._jct_s.extend(columns["jct_s"])
            self._arrival_s.extend(columns["arrival_s"])
            self._alone_s.frombytes(np.array(columns["alone_s"], dtype=float).tobytes())  # None becomes NaN
            self.backlog.arrived(columns["arrival_s"], fresh_tokens)
            self.fresh_tokens += sum(fresh_tokens)
            self._given_up.extend(columns["given_up"])
            split_s = np.array([columns[part] for part in parts])
            self._split_s += split_s.sum(axis=1)
            if self._keep:
                self._kept_split_s.frombytes(split_s.T.tobytes())
                self._eligible.extend(self._may_count(columns))

    def select(self) -> Measured | None:
        """Restrict all statistics to the programs that count; return them, or None if all do.

        Programs count that arrive between warm-up and cool-down and do not belong to a loaded start. Turns count that
        arrive between the first and the last of these programs, gaps between tokens if they end in that time.
        """
        if not self._keep:
            return None
        eligible = np.frombuffer(self._eligible, bool)
        arrival_s = np.frombuffer(self._arrival_s)
        turn_arrival_s = np.frombuffer(self._turn_arrival_s)
        ordered_s = np.sort(arrival_s[eligible])
        first, end = self._length.counted(len(ordered_s))
        from_s, to_s = self._window_s = float(ordered_s[first]), float(ordered_s[end - 1])
        self._programs = eligible & (from_s <= arrival_s) & (arrival_s <= to_s)
        self._turns = np.frombuffer(self._turn_eligible, bool) & (from_s <= turn_arrival_s) & (turn_arrival_s <= to_s)
        split_s = np.frombuffer(self._kept_split_s).reshape(-1, len(self._split_s))
        self._split_s = split_s[self._programs].sum(axis=0)
        return Measured(int(self._programs.sum()), int(self._turns.sum()), from_s, to_s, self._left_out)

    def _may_count(self, columns: Columns) -> Iterable[bool]:
        if not self._left_out:
            return repeat(True, len(columns["program"]))
        return (self._left_out not in name for name in columns["program"])

    @property
    def programs(self) -> int:
        """Finished programs, without sub-agents."""
        return len(self._jct_s)

    @property
    def last_arrival_s(self) -> float:
        """Latest arrival of a finished program."""
        return max(self._arrival_s, default=0.0)

    @property
    def last_finish_s(self) -> float:
        """Latest end of a program."""
        return float((np.frombuffer(self._arrival_s) + np.frombuffer(self._jct_s)).max())

    def served_per_s(self, workers: int) -> Served | None:
        """Return the rate of work of a closed load with `workers` workers; see `served`."""
        finish_s = np.frombuffer(self._arrival_s) + np.frombuffer(self._jct_s)
        return served(finish_s, workers, self.backlog.done_by, self.fresh_tokens / self.programs)

    def arrivals_from(self, start_s: float) -> tuple[int, float]:
        """Return how many programs arrived at `start_s` or later, and their mean JCT in seconds."""
        arrived = np.frombuffer(self._arrival_s) >= start_s
        return int(arrived.sum()), float(np.frombuffer(self._jct_s)[arrived].mean())

    @property
    def jct_s(self) -> Quantiles:
        """JCTs of programs that count."""
        return Quantiles.of(np.frombuffer(self._jct_s)[self._programs])

    @property
    def queue_wait_s(self) -> Quantiles:
        """Arrival to first scheduling, of turns that count."""
        return self._of_turns(self._queue_wait_s)

    @property
    def ttft_s(self) -> Quantiles:
        """Arrival to first token, of turns that count."""
        return self._of_turns(self._ttft_s)

    def _of_turns(self, seconds: array[float]) -> Quantiles:
        counted = np.frombuffer(seconds)[self._turns]
        if not len(counted):
            raise SimulationError(
                "no turn was answered in the time that counts, because clients gave up or hung up: they wait too "
                "briefly for this load (--request-timeout, --job-timeout, --abort-rate)"
            )
        return Quantiles.of(counted)

    @property
    def tpot_s(self) -> Quantiles | UnsetType:
        """Time per output token after the first, of turns that count and have more than one."""
        return _quantiles(_known(self._sample("tpot")))

    @property
    def e2el_s(self) -> Quantiles | UnsetType:
        """Arrival to last token, of turns that count."""
        return _quantiles(self._sample("e2el"))

    @property
    def itl_s(self) -> Quantiles | UnsetType:
        """Gaps between consecutive tokens."""
        if not self.gaps.gap_s:
            return UNSET
        gap_s, number = np.frombuffer(self.gaps.gap_s), np.frombuffer(self.gaps.number, dtype=np.int64)
        if self._keep:
            end_s, (from_s, to_s) = np.frombuffer(self.gaps.end_s), self._window_s
            counted = (from_s <= end_s) & (end_s <= to_s)
            gap_s, number = gap_s[counted], number[counted]
        return Quantiles.of_counted(gap_s, number) if len(gap_s) else UNSET

    @property
    def slowdown(self) -> Quantiles | UnsetType:
        """JCT divided by the JCT alone, of programs that count."""
        return _quantiles(_known(self._sample("slowdown")))

    @property
    def fairness(self) -> Fairness | UnsetType:
        """How evenly the programs that count are slowed down."""
        known = ~np.isnan(self._sample("slowdown"))
        if not known.any():
            return UNSET
        jct_s, slowdown = (self._sample(name)[known] for name in ("jct", "slowdown"))
        alone_s = np.frombuffer(self._alone_s)[self._programs][known]
        quarters = np.array_split(np.argsort(alone_s, kind="stable"), _QUARTERS)
        groups = [
            LengthGroup(float(alone_s[at[-1]]), len(at), float(jct_s[at].mean()), float(slowdown[at].mean()))
            for at in quarters
            if len(at)
        ]
        return Fairness(float(slowdown.sum() ** 2 / (len(slowdown) * (slowdown**2).sum())), groups)

    def kept(self, slo: Slo, end_s: float) -> KeptSlo | UnsetType:
        """Return how well a run that ended at `end_s` kept its objectives; UNSET if there are none."""
        if not slo:
            return UNSET
        objectives, within = [], []
        for item in slo.objectives:
            sample = self._sample(item.sample)
            known = _known(sample)
            within.append(np.isnan(sample) | (sample <= item.most))
            if item.sample in PROGRAM_SAMPLES:
                within[-1] &= ~np.frombuffer(self._given_up, bool)[self._programs]
            share = float(within[-1].mean()) if len(sample) else 1.0
            objectives.append(KeptObjective(item.name, item.most, item.kept(known), share, item.value(known)))
        from_s, to_s = self._window_s if self._window_s[1] > self._window_s[0] > -np.inf else (0.0, end_s)
        found: dict[str, float] = {}
        for samples, share_name, rate_name in _GOOD:
            about = [ones for item, ones in zip(slo.objectives, within, strict=True) if item.sample in samples]
            if about and len(about[0]):
                good = np.logical_and.reduce(about)
                found |= {share_name: float(good.mean()), rate_name: int(good.sum()) / (to_s - from_s)}
        return KeptSlo(kept=all(item.kept for item in objectives), objectives=objectives, **found)

    def _sample(self, name: str) -> np.ndarray:
        """Return one value per program or turn that counts; NaN where it has none."""
        values: np.ndarray
        if name == "slowdown":
            values = np.frombuffer(self._jct_s) / np.frombuffer(self._alone_s)
        else:
            values = np.frombuffer(getattr(self, f"_{name}_s"))
        counted: np.ndarray = values[self._turns if name in TURN_SAMPLES else self._programs]
        return counted

    @property
    def prefill(self) -> Prefill:
        """Prompt tokens by how they were obtained."""
        return Prefill(self._computed_tokens, self._cached_tokens, self._recomputed_tokens, self._reloaded_tokens)

    @property
    def time_s(self) -> TimeSplit:
        """Mean seconds per program that counts."""
        counted = self.programs if isinstance(self._programs, slice) else int(self._programs.sum())
        return _split((self._split_s / counted).tolist())

    @property
    def time_share(self) -> TimeSplit:
        """The same as shares of the mean JCT."""
        total_s = self._split_s.sum()
        return _split((self._split_s / total_s if total_s else self._split_s).tolist())


class ReplicaTally:
    """Turns and tokens per replica."""

    def __init__(self, replicas: int) -> None:
        self.turns, self.prompt_tokens, self.cached_tokens, self.recomputed_tokens, self.reloaded_tokens = np.zeros(
            (5, replicas), dtype=np.int64
        )

    def add_turns(self, columns: Columns) -> None:
        """Add finished turns."""
        replica = np.array(columns["replica"])
        np.add.at(self.turns, replica, 1)
        for name in ("prompt_tokens", "cached_tokens", "recomputed_tokens", "reloaded_tokens"):
            np.add.at(getattr(self, name), replica, np.array(columns[name]))


def _known(sample: np.ndarray) -> np.ndarray:
    known: np.ndarray = sample[~np.isnan(sample)]
    return known


def _quantiles(sample: np.ndarray) -> Quantiles | UnsetType:
    return Quantiles.of(sample) if len(sample) else UNSET


def _split(parts: list[float]) -> TimeSplit:
    """Return the parts by name; msgspec leaves out a rare part only if it is the default object itself."""
    named = zip(TimeSplit.__struct_fields__, parts, strict=True)
    return TimeSplit(**{name: part for name, part in named if part or name not in RARE_PARTS})
