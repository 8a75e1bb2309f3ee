"""Published throughputs of splits: all that are listed are predicted, and docs/step-time.md shows them."""

from __future__ import annotations

from pathlib import Path

from oracles.published_splits import PUBLISHED, predictions, table

PAGE = Path(__file__).parents[2] / "docs/step-time.md"


def test_none_is_dropped_and_the_page_shows_all_of_them() -> None:
    assert len(predictions()) == len(PUBLISHED) == 5
    assert table() in PAGE.read_text("utf-8"), "python tests/oracles/published_splits.py prints the table"


def test_errors_are_those_of_a_bound_without_overlap() -> None:
    """Engines of early 2025 reach two thirds of the roofline; those that overlap two batches, more than it without."""
    for one in predictions():
        low, high = (-0.25, 0.0) if "overlap" in one.name else (0.5, 0.7)
        assert low < one.error < high, one.name
