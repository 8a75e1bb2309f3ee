"""Flags that commands share and that are not settings of a run (those are in `setting_flags`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from continuum_sim.sweeps.workers import Workers

_OUTPUT: Final = "Output"

Out = Annotated[Path | None, typer.Option(help="Directory to write the results to.", rich_help_panel=_OUTPUT)]
Force = Annotated[bool, typer.Option("--force", help="Let --out replace earlier results.", rich_help_panel=_OUTPUT)]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.", rich_help_panel=_OUTPUT)
]
Decisions = Annotated[
    bool,
    typer.Option("--decisions", help="Log every decision (decisions.jsonl in --out).", rich_help_panel=_OUTPUT),
]

Jobs = Annotated[int, typer.Option(help="Processes to run on; -1 is one per core.")]
BackendName = Annotated[str, typer.Option("--backend", help="local, or an existing cluster: dask, ray.")]
Address = Annotated[str | None, typer.Option(help="Address of the cluster's scheduler.", show_default=False)]


def make_workers(jobs: int, backend: str, address: str | None) -> Workers:
    """Return the workers that these flags ask for.

    Raises
    ------
    ConfigError
        As `Workers`.
    """
    from continuum_sim.errors import ConfigError
    from continuum_sim.sweeps.workers import Workers

    if backend not in ("local", "dask", "ray"):
        raise ConfigError(f"--backend is {backend!r}, expected local, dask or ray")
    return Workers(jobs, backend, address)  # type: ignore[arg-type]


def check_force(out: Path | None, *, force: bool) -> None:
    """Refuse `--force` if nothing is written.

    Raises
    ------
    ConfigError
        If there is no `--out`.
    """
    from continuum_sim.errors import ConfigError

    if force and out is None:
        raise ConfigError("--force lets --out replace earlier results; say which with --out DIR")
