"""`continuum-sim backtest`: compare the simulator with the log of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from continuum_sim.cli.options import Force, Json, Out, check_force
from continuum_sim.cli.setting_flags import Flags, option_of, takes_settings
from continuum_sim.names import names_in_source
from continuum_sim.validate.flags import BATCHES_AND_BLOCKS

_SPLIT: Final = ("tensor_parallel_size", "pipeline_parallel_size", "enable_expert_parallel")
_ENGINE: Final = ("model", "gpu", *_SPLIT, *BATCHES_AND_BLOCKS, "async_scheduling", "client_delay")
_FORMATS: Final = ", ".join(names_in_source("continuum_sim.validate", "RecordedFormat", "recorded/formats/*.py"))
_UNSET: Final = {
    **dict.fromkeys(_ENGINE, "as recorded, else vLLM's"),
    "model": "as recorded",
    "gpu": "as recorded",
    "client_delay": "0",
}


@takes_settings(*_ENGINE, into="engine", unset=_UNSET)
def backtest(
    context: typer.Context,
    log: Annotated[Path, typer.Argument(metavar="LOG", help="What a real engine wrote down of its requests.")],
    engine: Flags,
    step_time: Annotated[
        str | None, option_of("step_time", unset="the closest there are: kernels beside LOG, aiconfigurator, roofline")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help=f"Of the log: {_FORMATS} (or a package's). Default: told from it.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest error of a mean, as a share; exit code 1 beyond it.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Simulate what a real engine was recorded to serve, and compare; needs no engine and no GPU.

    Exit code 0 if the means of end to end, TTFT and TPOT are within --tolerance, 1 if not, 2 if it could not be done.
    """
    from continuum_sim.cli.console import say
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.validate.recorded import print_backtest, run_backtest

    check_force(out, force=force)
    with interruptible("interrupted; nothing was written"):
        report = run_backtest(
            log,
            format=format,
            step_time=step_time,
            tolerance=tolerance,
            seed=seed,
            out=out,
            force=force,
            command=context.obj,
            **engine,
        )
    code = print_backtest(report, json=json)
    if out is not None:
        say(f"wrote {out}")
    raise typer.Exit(code)
