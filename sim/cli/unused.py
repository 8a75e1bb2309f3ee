"""Refuse options that a command would ignore as called, so that none is dropped silently."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from continuum_sim.cli.scenario_flags import is_given
from continuum_sim.setup.run_config import run_settings


def refuse_unused(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse options on the command line that this call would not use.

    Parameters
    ----------
    names
        Parameters of the command.
    why
        Reason, printed after their flags: `used only with --base-url`.

    Raises
    ------
    ConfigError
        Naming every such option that is given.
    """
    from continuum_sim.errors import ConfigError

    known = run_settings()
    given = [
        known[name].flag if name in known else f"--{name.replace('_', '-')}"
        for name in names
        if is_given(context, name)
    ]
    if given:
        raise ConfigError(f"{', '.join(given)}: {why}; leave {'them' if len(given) > 1 else 'it'} out")
