"""Options that a command would not use as it is called: they are refused by name, for none may be dropped unseen."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from continuum_sim.cli.scenario_flags import is_given


def refuse_unused(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse what the command line names and this call would not use.

    Parameters
    ----------
    names
        Parameters of the command.
    why
        What stands against them, after their flags: `used only with --base-url`.

    Raises
    ------
    ConfigError
        Naming every one of them that is given.
    """
    from continuum_sim.errors import ConfigError

    given = [f"--{name.replace('_', '-')}" for name in names if is_given(context, name)]
    if given:
        raise ConfigError(f"{', '.join(given)}: {why}; leave {'them' if len(given) > 1 else 'it'} out")
