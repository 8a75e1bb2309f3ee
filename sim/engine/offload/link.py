"""A link between two memories: one transfer after another at a fixed bandwidth."""

from __future__ import annotations


class Link:
    """First come first served, in both directions alike: a transfer starts when all before it are done.

    So n blocks handed over at time t arrive at max(t, end of the one before) + n · `block_s`: the departure times of
    a queue with one server, which need no events. Transfers must be handed over in the order of time.
    """

    def __init__(self, block_s: float) -> None:
        self.block_s = block_s
        """Seconds a block takes."""
        self.free_s = 0.0
        """When the link has done all it was given."""
        self._busy_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Seconds until a transfer handed over now would start."""
        return max(0.0, self.free_s - now_s)

    def send(self, blocks: int, now_s: float) -> float:
        """Hand a transfer over; returns when its last block has arrived."""
        seconds = blocks * self.block_s
        self._busy_s += seconds
        self.free_s = max(now_s, self.free_s) + seconds
        return self.free_s

    def busy_s(self, until_s: float) -> float:
        """Seconds the link has been busy up to a time not before the last transfer was handed over."""
        return max(0.0, self._busy_s - self.wait_s(until_s))
