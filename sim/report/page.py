"""The part of the page besides the view of a result: how to reproduce it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from continuum_sim.results.result import RunResult
    from continuum_sim.results.view import View

_STAMP: Final = ("created_at", "command", "versions", "platform", "wall_s", "policies", "seeds", "baseline", "runs")
"""Keys of a manifest that are not configuration."""

Setting = tuple[str, str]
"""A name and its value."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the page but pictures and timelines."""

    view: View
    command: str
    """Command line of the run; empty if there was none."""
    versions: Sequence[Setting]
    configuration: Sequence[tuple[str, Sequence[Setting]]]


def run_page(run: RunResult) -> Page:
    """Return the page of one run."""
    return Page(
        view=run.view(),
        command=command_line(run.manifest),
        versions=made_by(run.manifest),
        configuration=configuration(run.manifest),
    )


def comparison_page(view: View, manifest: Mapping[str, Any], first_run: Mapping[str, Any]) -> Page:
    """Return the page of a comparison; `first_run` is the manifest of its first run."""
    shared = {name: value for name, value in first_run.items() if name not in ("seed", "policy")}
    return Page(
        view=view,
        command=command_line(manifest),
        versions=made_by(manifest),
        configuration=configuration(shared),
    )


def command_line(manifest: Mapping[str, Any]) -> str:
    """Return the command as one would type it."""
    return shlex.join(manifest.get("command") or ())


def made_by(manifest: Mapping[str, Any]) -> list[Setting]:
    """Return when, where and by which versions a result was made."""
    versions = manifest.get("versions", {})
    return [
        ("made", f"{manifest.get('created_at', '')}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
        ("platform", f"{manifest.get('platform', '')}"),
    ]


def configuration(manifest: Mapping[str, Any]) -> list[tuple[str, Sequence[Setting]]]:
    """Arrange a manifest as tables: settings without parts first, then each setting with parts."""
    settings = {name: value for name, value in manifest.items() if name not in _STAMP}
    plain = [(name, _shown(value)) for name, value in settings.items() if not isinstance(value, Mapping)]
    nested = [(name, list(_flat(value))) for name, value in settings.items() if isinstance(value, Mapping)]
    return [("run", plain), *nested] if settings else []


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[Setting]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{above}{name}.")
        else:
            yield f"{above}{name}", _shown(item)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return str(value)
