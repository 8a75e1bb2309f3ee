"""`run --from DIR`: which run to repeat, and with which changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from continuum_sim.cli.scenario_flags import is_given
from continuum_sim.cli.setting_flags import Flags, given_flags

if TYPE_CHECKING:
    from continuum_sim.runs.repeat import KeptRun
    from continuum_sim.setup.resolve import ResolvedRun


@dataclass(frozen=True)
class Again:
    """A run to repeat."""

    kept: KeptRun
    changes: dict[str, Any]

    def resolve(self) -> ResolvedRun:
        """Resolve the run with its changes."""
        return self.kept.resolve(self.changes)

    def notes(self, run: ResolvedRun) -> list[str]:
        """Return notes on why it may differ from the original run."""
        return self.kept.notes(run, self.changes)


def asked_again(context: typer.Context, flags: Flags, directory: Path | None, texts: Sequence[str]) -> Again | None:
    """Return the run to repeat, with what `--set` and the flags given change in it; None without `--from`.

    Raises
    ------
    ConfigError
        If there is no such run, or the command line gives a setting twice.
    """
    from continuum_sim.errors import ConfigError
    from continuum_sim.runs.repeat import find_kept_run

    if directory is None:
        if texts:
            raise ConfigError("--set changes a run that is repeated with --from DIR; without it, give flags")
        return None
    if is_given(context, "scenario"):
        raise ConfigError("--from and --scenario both say what to run; give one of them")
    given = given_flags(context, flags)
    if is_given(context, "rate"):
        del given["rate"]  # already turned into arrivals
        given["arrivals"] = flags["arrivals"]
    changes = _changes(texts)
    for name in changes.keys() & given.keys():
        raise ConfigError(f"--set {name}=… and --{name.replace('_', '-')} say the same setting; give one of them")
    kept = find_kept_run(directory)
    changes |= given
    return Again(kept, changes)


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    from continuum_sim.errors import ConfigError
    from continuum_sim.sweeps.settings import check_setting, read_value

    changes: dict[str, Any] = {}
    for item in texts:
        name, sign, text = item.partition("=")
        if not sign or not text.strip():
            raise ConfigError(f"--set {item!r} is not of the form setting=value, as in seed=3")
        name = check_setting(name, "--set")
        if name in changes:
            raise ConfigError(f"--set gives {name} twice, expected it once")
        changes[name] = read_value(name, text)
    return changes
