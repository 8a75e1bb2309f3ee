"""When two times are the same instant: sums of step times differ in their last bits, which must not decide anything.

Times are compared on a grid, and two times on either side of a grid edge may be treated differently. The edges are
therefore placed where no sum of round numbers of seconds falls, down to fractions of a nanosecond: `EDGE` is well away
from the multiples of 1/40 on either side of it.
"""

from __future__ import annotations

from typing import Final

EDGE: Final = 51 / 110
"""Position of the edge between two grid points, as a fraction of the way: times up to it belong to the lower point."""

SAME_INSTANT_S: Final = 1e-9
"""Width of the grid in seconds: roughly, times closer together than this are the same instant."""

LATE_S: Final = (0.5 + EDGE) * SAME_INSTANT_S
"""What ends at time t ends at the first step that starts at t + `LATE_S` or later; until then it is still instant t."""

EARLY_S: Final = (1.5 - EDGE) * SAME_INSTANT_S
"""What begins at time t begins at the first step that starts at t − `EARLY_S` or later."""
