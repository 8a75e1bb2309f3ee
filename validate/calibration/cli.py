"""`continuum-sim calibrate`: measure how long the steps of a real engine take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.options import Json
from continuum_sim.validate.flags import SERVER, EngineFlags, takes_engine


@takes_engine()
def calibrate(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Step-time model to write (JSON); a picture of the fit goes beside it.")],
    engine: EngineFlags,
    base_url: Annotated[
        str | None, typer.Option(help="Measure this running server from outside.", rich_help_panel=SERVER)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Measure anew and replace --out.")] = False,
    json: Json = False,
) -> None:
    """Measure how long an engine's steps take, and fit a model that `run --step-time fitted:FILE` takes.

    Continues where an interrupted calibration with the same --out stopped.
    """
    from continuum_sim.cli.console import say
    from continuum_sim.cli.outcome import print_written
    from continuum_sim.errors import ConfigError
    from continuum_sim.validate.calibration.command import calibrate_engine
    from continuum_sim.validate.engines.options import TINY
    from continuum_sim.validate.engines.server import Servers
    from continuum_sim.validate.orderly import orderly

    engine.check(context, served=base_url is not None)
    if out.exists() and not force:
        raise ConfigError(f"--out {out} exists already; replace it with --force")
    start = None if base_url is None else Servers({"": base_url}, engine.server())
    with orderly():
        model = calibrate_engine(out, engine.options(TINY), start, seed=seed, force=force, say=say)
    if json:
        print_written(out, residuals=model.provenance["residuals"])
