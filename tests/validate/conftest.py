"""What all tests of the validator share."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest


@pytest.fixture
def rendered() -> None:
    """For tests that look at pictures."""


@pytest.fixture(autouse=True)
def _pictures_are_laid_out_and_not_rendered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering takes most of the time of a report, whose numbers and words the other tests are about."""

    def savefig(figure: object, file: BytesIO, **settings: Any) -> None:
        file.write(b"not rendered")

    if "rendered" not in request.fixturenames:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)
