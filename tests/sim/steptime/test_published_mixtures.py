"""Predictions of published throughputs, as docs/step-time.md shows them: errors of any size, none left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.published_mixtures import PUBLISHED, Published, predicted_tokens_per_s

PAGE = Path(__file__).parents[3] / "docs/step-time.md"


def shown() -> list[tuple[float, float, float]]:
    """Return published and predicted tokens per second and the error in per cent, of each row of the page's table."""
    table = PAGE.read_text(encoding="utf-8").partition("| | in, out, at once | tokens/s | predicted | error |")[2]
    rows = re.findall(r"\| ([\d,]+) \| ([\d,]+) \| ([−+]\d+) % \|", table.partition("\n\n")[0])
    return [tuple(float(cell.replace(",", "").replace("−", "-")) for cell in row) for row in rows]  # type: ignore[misc]


def test_all_of_them_are_shown() -> None:
    assert [row[0] for row in shown()] == [round(one.output_tokens_per_s) for one in PUBLISHED]


@pytest.mark.parametrize(("place", "published"), list(enumerate(PUBLISHED)), ids=[one.model for one in PUBLISHED])
def test_the_error_shown_is_that_of_a_run(place: int, published: Published) -> None:
    _, predicted, error = shown()[place]
    found = predicted_tokens_per_s(published)
    assert float(found) == pytest.approx(predicted, rel=0.01)
    assert 100 * (found / published.output_tokens_per_s - 1) == pytest.approx(error, abs=1)
