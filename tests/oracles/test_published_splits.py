"""Published throughputs of splits: all that are listed are predicted, and docs/step-time.md shows them."""

from __future__ import annotations

from pathlib import Path

from oracles.published_splits import PUBLISHED, predictions, table

PAGE = Path(__file__).parents[2] / "docs/step-time.md"


def test_none_is_dropped_and_the_page_shows_all_of_them() -> None:
    assert len(predictions()) == len(PUBLISHED) == 5
    assert table() in PAGE.read_text("utf-8"), "python tests/oracles/published_splits.py prints the table"


def test_errors_are_those_of_a_bound() -> None:
    """Engines of early 2025 reach 0.6 to 0.8 of the roofline."""
    for one in predictions():
        assert 0.2 < one.error < 0.7, one.name
