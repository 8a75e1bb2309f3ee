"""When two times are one: sums of step times differ in their last bits, which must not decide anything.

Times are told apart on a grid, and what lies on either side of an edge of the grid may be decided differently. The
edges are therefore where no sum of round numbers of seconds falls, down to fractions of a nanosecond: `EDGE` is as far
as can be from the multiples of 1/40 between which it lies.
"""

from __future__ import annotations

from typing import Final

EDGE: Final = 51 / 110
"""Where between two points of a grid the edge is, as a share of the way: up to it a time belongs to the lower one."""

SAME_INSTANT_S: Final = 1e-9
"""Width in seconds of the grid of instants: times nearer than this are about one instant."""

LATE_S: Final = (0.5 + EDGE) * SAME_INSTANT_S
"""What ends at a time ends at the first step that starts this long after it: up to there it is the same instant."""

EARLY_S: Final = (1.5 - EDGE) * SAME_INSTANT_S
"""What begins at a time begins at the first step that starts no longer than this before it."""
