"""Content of KV blocks as runs: what is cached of a program's context, or of a prefix that programs share.

A lookup finds the copy that was cached first (vLLM's `BlockHashToBlockMap`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise


class BlockRun:
    """Blocks [start, stop) of one content with one reference count; without references they are in the free queue.

    Adjacent KV cache groups of one spec hold the same blocks, so a run has those of `width` groups.
    """

    __slots__ = (
        "chain",
        "group",
        "holders",
        "key",
        "next",
        "pins",
        "pitch",
        "prev",
        "refs",
        "stamp",
        "start",
        "stop",
        "width",
    )

    def __init__(self, chain: Chain | None, start: int, stop: int, stamp: int, group: int = 0, width: int = 1) -> None:
        self.chain = chain
        self.start = start
        self.stop = stop
        self.stamp = stamp
        """Sequence number of its caching; a lookup finds the copy with the lowest."""
        self.group = group
        """The first of the KV cache groups that it has blocks of."""
        self.width = width
        """How many these are."""
        self.refs = 0
        self.pins = 0
        """How many of the references belong to pins."""
        self.holders: list[list[BlockRun]] = []
        """Block tables that contain this run, one per reference."""
        self.key = 0
        """When it was queued, or its first block if they are queued one by one; see `BlockPool.now`."""
        self.pitch = 0
        """If its blocks are queued one by one, from the first on: the time between two of them."""
        self.prev: BlockRun | None = None
        self.next: BlockRun | None = None

    def __len__(self) -> int:
        return (self.stop - self.start) * self.width


class Chain:
    """A sequence of content, indexed by block: a program's own context, or a prefix that programs share."""

    __slots__ = ("_found", "group", "runs", "width")

    def __init__(self, group: int = 0, width: int = 1) -> None:
        """Start without runs, for `width` KV cache groups from `group` on."""
        self.runs: list[BlockRun] = []
        self.group = group
        self.width = width
        self._found: list[tuple[BlockRun, int, int]] = []

    def add(self, run: BlockRun) -> None:
        """Add a run of this content."""
        self.runs.append(run)

    def discard(self, run: BlockRun) -> None:
        """Remove a run, which is there."""
        self.runs.remove(run)

    def find(self, start: int, stop: int) -> list[tuple[BlockRun, int, int]]:
        """Return the cached stretches (run, from, to) that cover [start, stop), from the front up to the first gap."""
        return _cover(sorted(self.runs, key=_start), start, stop)

    def covered(self, start: int, stop: int) -> int:
        """Return where what is cached of [start, stop) from its front on ends; `start` if nothing is."""
        self._found = found = self.find(start, stop)
        return found[-1][2] if found else start

    def just_covered(self, start: int, stop: int) -> list[tuple[BlockRun, int, int]]:
        """Return the stretches of what `covered` has just found, or of its front part."""
        return [(run, first, min(last, stop)) for run, first, last in self._found if first < stop]

    def differ(self, start: int, stop: int) -> list[BlockRun]:
        """Return the runs with blocks of [start, stop) that must be made into one of each group before a look-up."""
        return []

    def from_block(self, start: int) -> list[BlockRun]:
        """Return the runs that have blocks from `start` on."""
        return [run for run in self.runs if run.stop > start]

    def split(self, run: BlockRun, tail: BlockRun) -> None:
        """Add a run of the last blocks of another, which has given them up."""
        self.runs.append(tail)

    def join(self, run: BlockRun, tail: BlockRun) -> None:
        """Remove a run whose blocks the one before it has taken."""
        self.runs.remove(tail)

    def shrank(self, run: BlockRun, stop: int) -> None:
        """Note that a run has lost its last blocks, up to `stop`."""

    def lost_first(self, run: BlockRun) -> None:
        """Note that a run has lost the block before its first; remove it if that was its last."""
        if run.start == run.stop:
            self.discard(run)

    def extend(self, run: BlockRun, stop: int) -> bool:
        """Let a run grow up to block `stop`, unless there are copies of what it has then; return whether it did."""
        for one in reversed(self.runs):  # the latest are the likeliest
            if one.start < stop and one.stop > run.start and one is not run:
                return False
        run.stop = stop
        return True

    def has_older_copy(self, run: BlockRun) -> bool:
        """Return whether a look-up of some block of a run finds another, which was cached before it."""
        return len(self.runs) > 1 and _is_hidden(run, self.runs)


class WindowChain(Chain):
    """Content of adjacent KV cache groups, of which old windows stay cached in many short runs, kept in order."""

    __slots__ = ("_blocks", "_longest", "_span_starts", "_span_stops", "_spanned", "_starts")

    def __init__(self, group: int = 0, width: int = 1) -> None:
        super().__init__(group, width)
        self._starts: list[int] = []
        """The runs' first blocks."""
        self._longest = 0
        """Blocks of the longest run that there has been."""
        self._span_starts: list[int] = []
        self._span_stops: list[int] = []
        """What all groups have cached, as stretches of blocks in order that do not touch."""
        self._spanned = 0
        """Blocks of these in each group."""
        self._blocks = 0
        """Blocks of all runs; more than that in all groups if there are copies, or only some groups have a block."""

    def add(self, run: BlockRun) -> None:
        """Add a run of this content, with the blocks of all groups."""
        at = bisect_right(self._starts, run.start)
        self._starts.insert(at, run.start)
        self.runs.insert(at, run)
        self._longest = max(self._longest, run.stop - run.start)
        self._blocks += len(run)
        self._cached(run.start, run.stop)

    def discard(self, run: BlockRun) -> None:
        """Remove a run, which is there."""
        self._take_out(run, run.start)
        self._blocks -= len(run)
        self._gone(run.start, run.stop)

    def _take_out(self, run: BlockRun, start: int) -> None:
        """Remove a run that is listed with this first block."""
        at = bisect_left(self._starts, start)
        while self.runs[at] is not run:
            at += 1
        del self.runs[at], self._starts[at]

    def split(self, run: BlockRun, tail: BlockRun) -> None:
        """Add a run of some blocks of another, which has given them up; what is cached stays the same."""
        at = bisect_right(self._starts, tail.start)
        self._starts.insert(at, tail.start)
        self.runs.insert(at, tail)

    def join(self, run: BlockRun, tail: BlockRun) -> None:
        """Remove a run whose blocks the one before it has taken; what is cached stays the same."""
        self._take_out(tail, tail.start)
        self._longest = max(self._longest, run.stop - run.start)

    def extend(self, run: BlockRun, stop: int) -> bool:
        """Let a run grow up to block `stop`, unless there are copies of what it has then; return whether it did."""
        starts = self._starts
        if run.width < self.width or not self._once or bisect_left(starts, run.stop) < bisect_left(starts, stop):
            return False
        self._blocks += (stop - run.stop) * run.width
        self._cached(run.stop, stop)
        run.stop = stop
        self._longest = max(self._longest, stop - run.start)
        return True

    def shrank(self, run: BlockRun, stop: int) -> None:
        """Note that a run has lost its last blocks, up to `stop`."""
        self._blocks -= (stop - run.stop) * run.width
        self._gone(run.stop, stop)

    def lost_first(self, run: BlockRun) -> None:
        """Note that a run has lost the block before its first; remove it if that was its last."""
        self._take_out(run, run.start - 1)
        if run.start < run.stop:
            self.split(run, run)
        self._blocks -= run.width
        self._gone(run.start - 1, run.start)

    def from_block(self, start: int) -> list[BlockRun]:
        """Return the runs that have blocks from `start` on."""
        first = bisect_left(self._starts, start - self._longest + 1)
        return [run for run in self.runs[first:] if run.stop > start]

    def find(self, start: int, stop: int) -> list[tuple[BlockRun, int, int]]:
        """Return the cached stretches (run, from, to) that cover [start, stop), group by group where these differ.

        Where they do, no run may be of several groups (`differ`).
        """
        runs = self.within(start, stop)
        if self._alike(runs):
            return _cover(runs, start, stop)
        found: list[tuple[BlockRun, int, int]] = []
        for zone in _zones(runs):
            first, last = max(start, zone[0].start), min(stop, max([run.stop for run in zone]))
            if self._alike(zone):
                found += _cover(zone, first, last)
                continue
            for group in range(self.group, self.group + self.width):
                found += _cover([run for run in zone if run.group == group], first, last)
        return found

    def just_covered(self, start: int, stop: int) -> list[tuple[BlockRun, int, int]]:
        """Return the stretches that cover [start, stop), as `find` does."""
        return self.find(start, stop)

    def differ(self, start: int, stop: int) -> list[BlockRun]:
        """Return the runs with blocks of [start, stop) that must be made into one of each group before a look-up."""
        runs = self.within(start, stop)
        if self._alike(runs):
            return []
        return [run for zone in _zones(runs) if not self._alike(zone) for run in zone]

    @property
    def _once(self) -> bool:
        """Whether there are no copies, and all groups have the same blocks."""
        return self._blocks == self._spanned * self.width

    def _alike(self, runs: Sequence[BlockRun]) -> bool:
        """Return whether each of some runs has the blocks of all groups."""
        if self.width > 1:
            for run in runs:
                if run.width < self.width:
                    return False
        return True

    def has_older_copy(self, run: BlockRun) -> bool:
        """Return whether a look-up of some block of a run finds another, which was cached before it."""
        return not self._once and _is_hidden(run, self.within(run.start, run.stop))

    def span_before(self, stop: int) -> tuple[int, int]:
        """Return the last stretch of cached blocks that begins before `stop`; (0, 0) if there is none."""
        at = bisect_left(self._span_starts, stop) - 1
        return (0, 0) if at < 0 else (self._span_starts[at], self._span_stops[at])

    def covered(self, start: int, stop: int) -> int:
        """Return where what is cached of [start, stop) from its front on ends; `start` if nothing is."""
        at = bisect_right(self._span_starts, start) - 1
        return start if at < 0 else max(start, min(stop, self._span_stops[at]))

    def within(self, start: int, stop: int) -> list[BlockRun]:
        """Return the runs with blocks of [start, stop)."""
        first = bisect_left(self._starts, start - self._longest + 1)
        return [run for run in self.runs[first : bisect_left(self._starts, stop)] if run.stop > start]

    def _cached(self, start: int, stop: int) -> None:
        """Extend the stretches by [start, stop)."""
        first = bisect_left(self._span_stops, start)  # of those that touch it
        last = bisect_right(self._span_starts, stop)
        if first < last:
            start = min(start, self._span_starts[first])
            stop = max(stop, self._span_stops[last - 1])
            self._spanned -= sum(self._span_stops[first:last]) - sum(self._span_starts[first:last])
        self._spanned += stop - start
        self._span_starts[first:last] = [start]
        self._span_stops[first:last] = [stop]

    def _gone(self, start: int, stop: int) -> None:
        """Take blocks [start, stop) of some group out of the stretches, but for what all groups have copies of."""
        starts, stops = self._span_starts, self._span_stops
        first = bisect_right(stops, start)
        last = bisect_left(starts, stop)
        if first >= last:
            return
        left = [(starts[first], start)] if starts[first] < start else []
        if stops[last - 1] > stop:
            left.append((stop, stops[last - 1]))
        self._spanned -= sum(stops[first:last]) - sum(starts[first:last]) - sum([end - begin for begin, end in left])
        starts[first:last] = [begin for begin, _ in left]
        stops[first:last] = [end for _, end in left]
        if self._once:
            return
        runs = self.within(start, stop)
        if self._alike(runs):
            for run in runs:
                self._cached(max(start, run.start), min(stop, run.stop))
            return
        ends = {end for run in runs for end in (run.start, run.stop) if start < end < stop}
        for begin, end in pairwise(sorted({start, stop, *ends})):
            groups = {
                group
                for run in runs
                if run.start <= begin and run.stop >= end
                for group in range(run.group, run.group + run.width)
            }
            if len(groups) == self.width:
                self._cached(begin, end)


def _cover(runs: Sequence[BlockRun], start: int, stop: int) -> list[tuple[BlockRun, int, int]]:
    """Return the stretches that cover [start, stop) up to the first gap; the copy cached first is taken.

    `runs` are in the order of their first blocks.
    """
    found: list[tuple[BlockRun, int, int]] = []
    at = start
    for run in runs:
        if run.stop <= start:
            continue
        if run.start > at or run.start >= stop:
            break
        if run.start < at and found:
            last, since, _ = found[-1]
            if run.start < since or run.stamp < last.stamp:
                return _cover_with_copies(runs, start, stop)
            if run.stop <= at or at >= stop:
                continue
        found.append((run, at, min(run.stop, stop)))
        at = run.stop
    return found


def _cover_with_copies(runs: Sequence[BlockRun], start: int, stop: int) -> list[tuple[BlockRun, int, int]]:
    found: list[tuple[BlockRun, int, int]] = []
    at, seen = start, 0
    there: list[BlockRun] = []
    while at < stop:
        while seen < len(runs) and runs[seen].start <= at:
            there.append(runs[seen])
            seen += 1
        there = [run for run in there if run.stop > at]
        if not there:
            break
        best = min(there, key=_stamp)
        end = min(best.stop, stop)
        for number in range(seen, len(runs)):
            if runs[number].start >= end:
                break
            if runs[number].stamp < best.stamp:
                end = runs[number].start
        found.append((best, at, end))
        at = end
    return found


def _zones(runs: Sequence[BlockRun]) -> list[list[BlockRun]]:
    """Return runs, in the order of their first blocks, by stretches of blocks that they cover together."""
    zones: list[list[BlockRun]] = []
    end = -1
    for run in runs:
        if run.start >= end:
            zones.append([])
        zones[-1].append(run)
        end = max(end, run.stop)
    return zones


def _stamp(run: BlockRun) -> int:
    return run.stamp


def _start(run: BlockRun) -> int:
    return run.start


def _is_hidden(run: BlockRun, runs: Sequence[BlockRun]) -> bool:
    stamp, start, stop = run.stamp, run.start, run.stop
    first, last = run.group, run.group + run.width
    for one in runs:
        older = one.stamp < stamp and one.start < stop and one.stop > start
        if older and one.group < last and first < one.group + one.width:
            return True
    return False
