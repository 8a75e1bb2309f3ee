"""Stopped comparisons: their directory has a manifest and finished runs, but no `comparison.json` yet."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.results.files import MANIFEST, SUMMARY
from continuum_sim.results.manifest_parts import ComparisonParts, read_manifest

COMPARISON: Final = "comparison.json"
"""Written once all runs of a comparison have finished."""


def unfinished_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the manifest of an unfinished comparison; None if the directory does not hold one."""
    if (directory / COMPARISON).is_file() or not (directory / MANIFEST).is_file():
        return None
    try:
        return read_manifest(directory / MANIFEST, ComparisonParts)[0]
    except ConfigError:
        return None


def refuse_unfinished(directory: Path) -> None:
    """Refuse to read results from an unfinished comparison.

    Raises
    ------
    ConfigError
        Saying how many runs are done, and how to resume.
    """
    manifest = unfinished_manifest(directory)
    if manifest is None:
        return
    runs = manifest["runs"]
    done = sum((directory / run / SUMMARY).is_file() for run in runs)
    command = [part for part in manifest.get("command") or () if part != "--force"]  # which would start over
    again = f"the same command goes on from there: {shlex.join(command)}" if command else "the same call goes on there"
    raise ConfigError(f"{directory} is an unfinished comparison, {done} of {len(runs)} runs are done; {again}")
