"""The sums and samples a summary is made of, kept while the records themselves go elsewhere."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import compress, repeat

import numpy as np

from continuum_sim.results.summary import RARE_PARTS, Measured, Prefill, Quantiles, TimeSplit
from continuum_sim.results.tables import Columns
from continuum_sim.steady.backlog import Backlog
from continuum_sim.steady.burst import Burst
from continuum_sim.steady.length import RunLength
from continuum_sim.steady.served import Served, served


class Tally:
    """Running totals over programs and turns; eight bytes a sample, four samples.

    Parameters
    ----------
    length
        Which programs count.
    burst
        Which ones are a burst's.
    """

    def __init__(self, length: RunLength | None = None, burst: Burst | None = None) -> None:
        self._length = length or RunLength()
        self.burst = None if burst is None else burst.spec
        self._left_out = burst.mark if burst is not None and not burst.spec.counts else ""
        """What the names of programs have in them that do not count whenever they arrive; empty for none."""
        self._jct_s = array("d")
        self._queue_wait_s = array("d")
        self._ttft_s = array("d")
        self._arrival_s = array("d")
        """Of programs, as `_jct_s`."""
        self._keep = self._length.cuts
        """Whether to keep what `select` needs, some more bytes a sample."""
        self._eligible = array("b")
        self._turn_eligible = array("b")
        """Whether each program and turn is none of those."""
        self._turn_arrival_s = array("d")
        self._kept_split_s = array("d")
        """The parts of each program's JCT, one program after the other."""
        self._programs: np.ndarray | slice = slice(None)
        self._turns: np.ndarray | slice = slice(None)
        """Those that count."""
        self.backlog = Backlog()
        self.children = 0
        """Finished sub-agents."""
        self.turns = 0
        self.output_tokens = 0
        self.preemptions = 0
        self.fresh_tokens = 0
        """Tokens computed for the first time, by programs that have finished."""
        self._computed_tokens = 0
        self._cached_tokens = 0
        self._recomputed_tokens = 0
        self._reloaded_tokens = 0
        self._split_s = np.zeros(len(TimeSplit.__struct_fields__))

    def add_turns(self, columns: Columns) -> None:
        """Take in finished turns."""
        turns = len(columns["turn"])
        arrival_s = np.array(columns["arrival_s"])
        self._queue_wait_s.frombytes((np.array(columns["scheduled_s"]) - arrival_s).tobytes())
        self._ttft_s.frombytes((np.array(columns["first_token_s"]) - arrival_s).tobytes())
        if self._keep:
            self._turn_arrival_s.frombytes(arrival_s.tobytes())
            self._turn_eligible.extend(self._may_count(columns))
        fresh_tokens = np.subtract(columns["computed_tokens"], columns["recomputed_tokens"])
        self.backlog.done(columns["finish_s"], fresh_tokens)
        # Python's own integers throughout: a sum over a long run must not wrap.
        output_tokens = sum(columns["output_tokens"])
        self.turns += turns
        self.output_tokens += output_tokens
        self.preemptions += sum(columns["preemptions"])
        # The KV of every output token but the last is computed once by decoding; all else is prefill.
        self._computed_tokens += sum(columns["computed_tokens"]) - (output_tokens - turns)
        self._cached_tokens += sum(columns["cached_tokens"])
        self._recomputed_tokens += sum(columns["recomputed_tokens"])
        self._reloaded_tokens += sum(columns["reloaded_tokens"])

    def add_programs(self, columns: Columns, fresh_tokens: Sequence[int]) -> None:
        """Take in finished programs; sub-agents are only counted, their time is part of their parents'.

        `fresh_tokens` are those of each program that is no sub-agent, its own sub-agents' among them.
        """
        names = ("program", "jct_s", "arrival_s", *(f"{part}_s" for part in TimeSplit.__struct_fields__))
        children = sum(parent is not None for parent in columns["parent"])
        if children:
            self.children += children
            root = [parent is None for parent in columns["parent"]]
            columns = {name: list(compress(columns[name], root)) for name in names}
        if columns["jct_s"]:
            self._jct_s.extend(columns["jct_s"])
            self._arrival_s.extend(columns["arrival_s"])
            self.backlog.arrived(columns["arrival_s"], fresh_tokens)
            self.fresh_tokens += sum(fresh_tokens)
            split_s = np.array([columns[name] for name in names[3:]])
            self._split_s += split_s.sum(axis=1)
            if self._keep:
                self._kept_split_s.frombytes(split_s.T.tobytes())
                self._eligible.extend(self._may_count(columns))

    def select(self) -> Measured | None:
        """Have only the programs count from now on that shall: between a warm-up and a cool-down by arrival, and not
        there from the start. None if all do.

        Of turns those count that arrive from the first of these programs to the last.
        """
        if not self._keep:
            return None
        eligible = np.frombuffer(self._eligible, bool)
        arrival_s = np.frombuffer(self._arrival_s)
        turn_arrival_s = np.frombuffer(self._turn_arrival_s)
        ordered_s = np.sort(arrival_s[eligible])
        first, end = self._length.counted(len(ordered_s))
        from_s, to_s = float(ordered_s[first]), float(ordered_s[end - 1])
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
        """Finished programs, sub-agents aside."""
        return len(self._jct_s)

    @property
    def last_arrival_s(self) -> float:
        """Latest arrival of a program."""
        return max(self._arrival_s, default=0.0)

    @property
    def last_finish_s(self) -> float:
        """Latest end of a program."""
        return float((np.frombuffer(self._arrival_s) + np.frombuffer(self._jct_s)).max())

    def served_per_s(self, workers: int) -> Served | None:
        """Return the rate of work of a closed load of so many workers; see `served`."""
        finish_s = np.frombuffer(self._arrival_s) + np.frombuffer(self._jct_s)
        return served(finish_s, workers, self.backlog.done_by, self.fresh_tokens / self.programs)

    def arrivals_from(self, start_s: float) -> tuple[int, float]:
        """Return how many programs arrived from a time on, and their mean JCT in seconds."""
        arrived = np.frombuffer(self._arrival_s) >= start_s
        return int(arrived.sum()), float(np.frombuffer(self._jct_s)[arrived].mean())

    @property
    def jct_s(self) -> Quantiles:
        """Job completion times of programs that count."""
        return Quantiles.of(np.frombuffer(self._jct_s)[self._programs])

    @property
    def queue_wait_s(self) -> Quantiles:
        """Arrival to first scheduling, of turns that count."""
        return Quantiles.of(np.frombuffer(self._queue_wait_s)[self._turns])

    @property
    def ttft_s(self) -> Quantiles:
        """Arrival to first token, of turns that count."""
        return Quantiles.of(np.frombuffer(self._ttft_s)[self._turns])

    @property
    def prefill(self) -> Prefill:
        """Prompt tokens by what became of them."""
        return Prefill(self._computed_tokens, self._cached_tokens, self._recomputed_tokens, self._reloaded_tokens)

    @property
    def time_s(self) -> TimeSplit:
        """Mean seconds a program, of those that count."""
        counted = self.programs if isinstance(self._programs, slice) else int(self._programs.sum())
        return _split((self._split_s / counted).tolist())

    @property
    def time_share(self) -> TimeSplit:
        """Shares of their mean JCT."""
        total_s = self._split_s.sum()
        return _split((self._split_s / total_s if total_s else self._split_s).tolist())


class ReplicaTally:
    """Turns and tokens by replica."""

    def __init__(self, replicas: int) -> None:
        self.turns, self.prompt_tokens, self.cached_tokens, self.recomputed_tokens, self.reloaded_tokens = np.zeros(
            (5, replicas), dtype=np.int64
        )

    def add_turns(self, columns: Columns) -> None:
        """Take in finished turns."""
        replica = np.array(columns["replica"])
        np.add.at(self.turns, replica, 1)
        for name in ("prompt_tokens", "cached_tokens", "recomputed_tokens", "reloaded_tokens"):
            np.add.at(getattr(self, name), replica, np.array(columns[name]))


def _split(parts: list[float]) -> TimeSplit:
    """Name the parts; those that msgspec shall leave out must be their very defaults."""
    named = zip(TimeSplit.__struct_fields__, parts, strict=True)
    return TimeSplit(**{name: part for name, part in named if part or name not in RARE_PARTS})
