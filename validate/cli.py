"""`continuum-sim validate`: simulate policies, then run them on a real engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.setting_flags import Flags, takes_settings
from continuum_sim.cli.unused import refuse_unused
from continuum_sim.setup.settings import ENGINE, LOAD
from continuum_sim.validate.flags import SERVER, EngineFlags, takes_engine

_OUTPUT: Final = "Output"


@takes_settings("trace", "arrivals", "rate", "limit", "max_turns", into="load")
@takes_engine(longest="what the trace needs")
def validate(
    context: typer.Context,
    load: Flags,
    engine: EngineFlags,
    policies: Annotated[
        str,
        typer.Option(
            help="Policies to compare, the baseline first.", rich_help_panel=LOAD, autocompletion=completer("policy")
        ),
    ] = "lru,program-fifo,ttl-static,ttl",
    seed: Annotated[int, typer.Option(help="Seed of arrivals and prompts.", rich_help_panel=LOAD)] = 0,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Divide token counts and tool times, as tokens=8,gaps=4, so that a trace fits a small model.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs of every policy, in alternation. Default: 3, with --resume as many as were asked for.",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Simulations that a prediction is the mean of.")] = 8,
    step_time: Annotated[
        str | None,
        typer.Option(
            help="fitted:FILE of a calibration; without it the engine is calibrated first. With --pace: any step-time "
            "model of `run`, roofline unless given.",
            show_default=False,
        ),
    ] = None,
    pace: Annotated[
        str | None,
        typer.Option(
            help="Hold every step to the time it would take a model on a GPU, as llama-3.1-8b@rtx-4090 or "
            "llama-3.1-70b@4xh100: shows on any machine how far decisions agree at that speed.",
            show_default=False,
            rich_help_panel=ENGINE,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest error of a mean JCT, as a share; exit code 1 beyond it.")
    ] = 0.05,
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            help="Running server, with the plug-in and the policy; once for every policy, in their order.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the validation.", rich_help_panel=_OUTPUT)] = Path(
        "validation"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the validation in --out.", rich_help_panel=_OUTPUT)
    ] = False,
    json: Json = False,
    # These options moved to `backtest`; users who still type them are told so.
    moved: Annotated[str | None, typer.Option("--recorded", "--format", "--gpu", hidden=True)] = None,
    force: Annotated[bool, typer.Option("--force", hidden=True)] = False,
) -> None:
    """Predict every policy, run it on a real engine, and compare.

    Exit code 0 if every mean JCT is within --tolerance, 1 if one is not, 2 if it could not be done.
    """
    from continuum_sim.cli.console import say
    from continuum_sim.errors import ConfigError
    from continuum_sim.validate.command import Asked, validate_engine
    from continuum_sim.validate.engines.options import NANO, TINY
    from continuum_sim.validate.orderly import orderly
    from continuum_sim.validate.session.pace import parse_pace

    if moved is not None or force:
        raise ConfigError(
            "validate runs an engine: --recorded LOG is now `continuum-sim backtest LOG`, with --format, --gpu and "
            "--force"
        )
    engine.check(context, served=bool(base_url))
    if base_url:
        refuse_unused(context, ["pace"], "the server of --base-url runs at its own pace")
    held = None if pace is None else parse_pace(pace, step_time or "roofline")
    asked = Asked(
        trace=load["trace"],
        policies=policies,
        arrivals=load["arrivals"],
        seed=seed,
        limit=load["limit"],
        max_turns=load["max_turns"],
        scale=scale,
        repeats=repeats,
        draws=draws,
        step_time=None if held else step_time,
        pace=held,
        tolerance=tolerance,
        engine=engine.options(TINY if held is None else NANO),
        base_urls=tuple(base_url or ()),
        server=engine.server(),
    )
    with orderly():
        within = validate_engine(asked, out, resume=resume, json=json, say=say)
    raise typer.Exit(0 if within else 1)
