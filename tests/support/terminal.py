"""What a command shows on a terminal of a given width, without colours."""

from __future__ import annotations

import re

import pytest

from support.cli import printed

STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""Colour and weight, the only escape sequences in results."""


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, *arguments: object
) -> str:
    """Return the standard output of a command that succeeds, on a terminal of that width."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(width))
    return STYLE.sub("", printed(capsys, *arguments))
