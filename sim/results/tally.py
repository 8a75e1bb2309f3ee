"""The sums and samples a summary is made of, kept while the records themselves go elsewhere."""

from __future__ import annotations

from array import array

import numpy as np

from continuum_sim.results.summary import RARE_PARTS, Prefill, Quantiles, TimeSplit
from continuum_sim.results.tables import Columns


class Tally:
    """Running totals over programs and turns; eight bytes a sample, three samples."""

    def __init__(self) -> None:
        self.jct_s = array("d")
        self.queue_wait_s = array("d")
        self.ttft_s = array("d")
        self.children = 0
        """Finished sub-agents."""
        self.turns = 0
        self.output_tokens = 0
        self.preemptions = 0
        self.last_arrival_s = 0.0
        """Latest arrival of a program."""
        self._computed_tokens = 0
        self._cached_tokens = 0
        self._recomputed_tokens = 0
        self._reloaded_tokens = 0
        self._split_s = np.zeros(len(TimeSplit.__struct_fields__))

    def add_turns(self, columns: Columns) -> None:
        """Take in finished turns."""
        turns = len(columns["turn"])
        arrival_s = np.array(columns["arrival_s"])
        self.queue_wait_s.frombytes((np.array(columns["scheduled_s"]) - arrival_s).tobytes())
        self.ttft_s.frombytes((np.array(columns["first_token_s"]) - arrival_s).tobytes())
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

    def add_programs(self, columns: Columns) -> None:
        """Take in finished programs; sub-agents are only counted, their time is part of their parents'."""
        names = ("jct_s", "arrival_s", *(f"{part}_s" for part in TimeSplit.__struct_fields__))
        children = sum(parent is not None for parent in columns["parent"])
        if children:
            self.children += children
            root = np.array([parent is None for parent in columns["parent"]])
            columns = {name: np.array(columns[name])[root].tolist() for name in names}
        if columns["jct_s"]:
            self.jct_s.extend(columns["jct_s"])
            self.last_arrival_s = max(self.last_arrival_s, *columns["arrival_s"])
            self._split_s += np.array([columns[name] for name in names[2:]]).sum(axis=1)

    @property
    def programs(self) -> int:
        """Finished programs, sub-agents aside."""
        return len(self.jct_s)

    @property
    def prefill(self) -> Prefill:
        """Prompt tokens by what became of them."""
        return Prefill(self._computed_tokens, self._cached_tokens, self._recomputed_tokens, self._reloaded_tokens)

    @property
    def time_s(self) -> TimeSplit:
        """Mean seconds a program."""
        return _split((self._split_s / self.programs).tolist())

    @property
    def time_share(self) -> TimeSplit:
        """Shares of the mean JCT."""
        total_s = self._split_s.sum()
        return _split((self._split_s / total_s if total_s else self._split_s).tolist())

    def quantiles(self, sample: array[float]) -> Quantiles:
        """Summarise one of the samples."""
        return Quantiles.of(np.frombuffer(sample))


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
