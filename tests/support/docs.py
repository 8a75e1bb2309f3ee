"""What a page of the documentation shows, against what is printed."""

from __future__ import annotations


def missing_lines(shown: str, printed: str) -> list[str]:
    """Lines shown that are not printed, in that order; a page may leave lines out but not change them."""
    rest = iter(printed.splitlines())
    return [line for line in shown.splitlines() if line.strip() and not any(line.strip() in other for other in rest)]
