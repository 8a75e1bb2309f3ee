"""A link between two memories: it carries one transfer at a time, at a fixed bandwidth."""

from __future__ import annotations


class Link:
    """First come, first served, both directions together: a transfer starts when all earlier ones are done.

    So n blocks submitted at time t arrive at max(t, end of the previous transfer) + n · `block_s`: the departure times
    of a single-server queue, which need no events. Transfers must be submitted in order of time.
    """

    def __init__(self, block_s: float) -> None:
        self.block_s = block_s
        """Seconds per block."""
        self.free_s = 0.0
        """When the link will have carried all its transfers."""
        self._busy_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a transfer submitted now would start."""
        return max(0.0, self.free_s - now_s)

    def send(self, blocks: int, now_s: float) -> float:
        """Submit a transfer; return when its last block arrives."""
        seconds = blocks * self.block_s
        self._busy_s += seconds
        self.free_s = max(now_s, self.free_s) + seconds
        return self.free_s

    def busy_s(self, until_s: float) -> float:
        """Return the seconds for which the link was busy until `until_s`, which is not before the last submission."""
        return max(0.0, self._busy_s - self.wait_s(until_s))
