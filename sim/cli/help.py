"""Literal help texts: rich would take `[grid]` in a help text for markup and drop it."""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import Any

import typer
from typer.main import get_command, get_command_name


@cache
def with_plain_help(app: typer.Typer, first: str | None = None) -> Any:
    """Return the commands of an app, plug-ins' included, with markup in their help texts escaped.

    Building all of them takes longer than most of them run: if `first`, the first argument, names one, only that one is
    built.
    """
    command = get_command(_only(app, first) or app)
    _escape(command)
    return command


def _only(app: typer.Typer, name: str | None) -> typer.Typer | None:
    """Return the app with only this command; None if it has no command of this name."""
    commands = [one for one in app.registered_commands if name == (one.name or get_command_name(_name(one.callback)))]
    groups = [one for one in app.registered_groups if name == one.name]
    if len(commands) + len(groups) != 1:
        return None
    alone = copy(app)
    alone.registered_commands, alone.registered_groups = commands, groups
    return alone


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", ""))


def _escape(command: Any) -> None:
    for item in (command, *command.params):
        if item.help and "[" in item.help:
            from rich.markup import escape  # rarely needed

            item.help = escape(item.help)
    for inner in getattr(command, "commands", {}).values():
        _escape(inner)
