"""A terminal of any width: what a command shows on one, without the colours."""

from __future__ import annotations

import re

import pytest

from support.cli import printed

STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""Colour and weight: the only escape sequences that results hold."""


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, *arguments: object
) -> str:
    """Standard output of a command that works, on a terminal so wide."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(width))
    return STYLE.sub("", printed(capsys, *arguments))
