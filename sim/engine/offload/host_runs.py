"""Stretches of blocks in vLLM's host memory, each in one state and at one place in the order of eviction."""

from __future__ import annotations

from bisect import bisect_left, insort

from continuum_sim.engine.chain import Chain


class HostRun:
    """Blocks [start, stop) of one content."""

    __slots__ = ("chain", "head_first", "loading", "pending", "rank", "ranking", "start", "stop")

    def __init__(self, chain: Chain, start: int, stop: int, rank: int, ranking: Ranking, *, head_first: bool) -> None:
        self.chain = chain
        self.start = start
        self.stop = stop
        self.rank = rank
        self.ranking = ranking
        """The order that it has a place in."""
        self.head_first = head_first
        """Whether its first block is evicted first, else its last."""
        self.pending = False
        """Whether it is still being stored, so that it cannot be read."""
        self.loading = False
        """Whether it is being loaded, so that it cannot be evicted."""

    def __len__(self) -> int:
        return self.stop - self.start

    def follows(self, run: HostRun) -> bool:
        """Return whether these are the blocks after those of another run, in the same state."""
        return (
            self is not run
            and self.chain is run.chain
            and self.start == run.stop
            and not self.head_first
            and self.idle
            and run.idle
        )

    @property
    def idle(self) -> bool:
        """Whether no transfer uses it (vLLM's `ref_cnt` is 0)."""
        return not self.pending and not self.loading


class Ranking:
    """Runs in order of eviction; those of one rank are the blocks of one request, in its order."""

    def __init__(self) -> None:
        self.runs: list[HostRun] = []
        self.blocks = 0

    def add(self, run: HostRun) -> None:
        """Give a run the place of its rank."""
        run.ranking = self
        self.blocks += run.stop - run.start
        if not self.runs or _place(self.runs[-1]) < _place(run):
            self.runs.append(run)
        else:
            insort(self.runs, run, key=_place)

    def remove(self, run: HostRun) -> None:
        """Remove a run, which is there."""
        self.blocks -= run.stop - run.start
        del self.runs[self._at(run)]

    def split(self, run: HostRun, tail: HostRun) -> None:
        """Add the tail that was just cut off a run; both keep their place."""
        self.runs.insert(self._at(run) + run.head_first, tail)

    def _at(self, run: HostRun) -> int:
        at = bisect_left(self.runs, _place(run), key=_place)
        while self.runs[at] is not run:
            at += 1
        return at


class RunIndex:
    """Runs by content; no two hold the same block."""

    def __init__(self) -> None:
        self._runs: dict[Chain, list[HostRun]] = {}

    def add(self, run: HostRun) -> None:
        """Add a run."""
        insort(self._runs.setdefault(run.chain, []), run, key=_start)

    def remove(self, run: HostRun) -> None:
        """Remove a run, which is there."""
        runs = self._runs[run.chain]
        del runs[bisect_left(runs, run.start, key=_start)]
        if not runs:
            del self._runs[run.chain]

    def within(self, chain: Chain, start: int, stop: int) -> list[HostRun]:
        """Return the runs that have some of the blocks [start, stop), in order."""
        return [run for run in self._runs.get(chain, ()) if run.start < stop and run.stop > start]

    def cut(self, chain: Chain, start: int, stop: int) -> list[HostRun]:
        """Return the runs that make up what there is of [start, stop), after splitting those that reach beyond."""
        found = []
        for run in self.within(chain, start, stop):
            if run.start < start:
                run = self.split(run, start)
            if run.stop > stop:
                self.split(run, stop)
            found.append(run)
        return found

    def split(self, run: HostRun, at: int) -> HostRun:
        """Split a run at block `at`; return the tail."""
        tail = HostRun(run.chain, at, run.stop, run.rank, run.ranking, head_first=run.head_first)
        tail.pending, tail.loading = run.pending, run.loading
        run.stop = at
        self.add(tail)
        run.ranking.split(run, tail)
        return tail

    def relabel(self, chain: Chain, start: int, other: Chain) -> None:
        """Let the blocks of a content from `start` on be those of another content."""
        moved = self.cut(chain, start, 1 << 60)
        for run in moved:
            self.remove(run)
            run.chain = other
        for run in moved:
            self.add(run)


def _start(run: HostRun) -> int:
    return run.start


def _place(run: HostRun) -> tuple[int, int]:
    return (run.rank, run.start if run.head_first else -run.start)
