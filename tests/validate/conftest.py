"""Shared by all tests of the validator."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest


@pytest.fixture
def rendered() -> None:
    """Render figures, for tests that look at them."""


@pytest.fixture(autouse=True)
def _pictures_are_laid_out_and_not_rendered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip rendering, which takes most of a report's time; other tests concern its numbers and words."""

    def savefig(figure: object, file: BytesIO, **settings: Any) -> None:
        file.write(b"not rendered")

    if "rendered" not in request.fixturenames:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)
