"""Help texts as they are written: `[grid]` in one is a word of it, where rich would take it for markup and drop it."""

from __future__ import annotations

from functools import cache
from typing import Any

import typer
from typer.main import get_command


@cache  # who runs commands from Python runs many, and making them all takes longer than most do
def with_plain_help(app: typer.Typer) -> Any:
    """Return the commands of an app, whoever wrote them, with markup in their help texts escaped."""
    command = get_command(app)
    _escape(command)
    return command


def _escape(command: Any) -> None:
    for item in (command, *command.params):
        if item.help and "[" in item.help:
            from rich.markup import escape  # seldom needed

            item.help = escape(item.help)
    for inner in getattr(command, "commands", {}).values():
        _escape(inner)
