"""`continuum-sim backtest`: the simulator against the log of a run that is over."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.flag_groups import takes_flags
from continuum_sim.cli.options import Force, Json, Out
from continuum_sim.validate.flags import ENGINE, EngineFlags


@dataclass(frozen=True, kw_only=True)
class RecordedEngineFlags(EngineFlags):
    """The engine of a recorded run; None takes what the log says, else vLLM's default."""

    model: Annotated[
        str | None,
        typer.Option(
            help="Model it served, of the catalogue. Default: as recorded, as for all settings of the engine; vLLM's "
            "own where the log does not say.",
            show_default=False,
            rich_help_panel=ENGINE,
        ),
    ] = None
    gpu: Annotated[
        str | None,
        typer.Option(help="GPU it ran on. Default: as recorded.", show_default=False, rich_help_panel=ENGINE),
    ] = None


@takes_flags
def backtest(
    context: typer.Context,
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Log of a run of a real engine that is over.")],
    engine: RecordedEngineFlags,
    format: Annotated[
        str | None,
        typer.Option(help="Its format: llmservingsim or vllm-bench. Default: told from it.", show_default=False),
    ] = None,
    step_time: Annotated[
        str, typer.Option(help="How long steps take: roofline, profiled:DIR, fitted:FILE, …", rich_help_panel=ENGINE)
    ] = "roofline",
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest error of a mean, as a share; exit code 1 beyond it.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Simulate what a real engine was recorded to serve, and compare: no engine, no GPU.

    Exit code 0 if the means of end to end, TTFT and TPOT are within --tolerance, 1 if one is not, 2 if it could not be
    done.
    """
    from continuum_sim.cli.console import say
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.validate.recorded.backtest import run_backtest
    from continuum_sim.validate.recorded.view import print_backtest

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
            **asdict(engine),
        )
    code = print_backtest(report, json=json)
    if out is not None:
        say(f"wrote {out}")
    raise typer.Exit(code)
