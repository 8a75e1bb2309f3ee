"""`sweep …` is `sweep run …`, unless a command of its own follows."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class SweepGroup(TyperGroup):
    """A group whose first command need not be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` in front of arguments that name no command."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)
