"""Format numbers for people."""

from __future__ import annotations


def seconds(value: float) -> str:
    """Format with three or four figures: 0.0123, 1.23, 12.3, 1,234."""
    magnitude = abs(value)
    if magnitude < 5e-5:
        return "0"
    if magnitude >= 1000:
        return f"{value:,.0f}"
    decimals = 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3 if magnitude >= 0.1 else 4
    return f"{value:.{decimals}f}"


def signed(value: float) -> str:
    """Format like `seconds`, with a sign on everything but 0."""
    text = seconds(value).replace("-", "−")
    return f"+{text}" if value > 0 and text != "0" else text


def count(value: float) -> str:
    """Format with three figures and a suffix: 123, 12.3 k, 1.23 M, 4.56 G."""
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            scaled = value / (1e3 if suffix == " k" else size)
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{suffix}"
    return f"{value:,.0f}"


def percent(share: float) -> str:
    """Format a share as a whole percentage, with one decimal below 10 %."""
    return f"{100 * share:.{1 if 0 < share < 0.0995 else 0}f} %"


def times(ratio: float) -> str:
    """Format a multiple: 2.33×, 14.1×, 120×."""
    return f"{ratio:,.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}×"
