"""`continuum-sim run`: one trace, one policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Decisions, Force, Json, Out, check_force
from continuum_sim.cli.setting_flags import Flags, check_acting, takes_run_flags


@takes_run_flags
def run(
    context: typer.Context,
    flags: Flags,
    repeated: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Repeat the run of this directory; flags given win.", metavar="DIR", show_default=False
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="With --from: change a setting, as seed=3.",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = None,
    out: Out = None,
    force: Force = False,
    decisions: Decisions = False,
    json: Json = False,
) -> None:
    """Simulate one trace on one engine, or a cluster of them, under one policy."""
    from continuum_sim.cli.console import say, show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.cli.progress import Bar
    from continuum_sim.cli.repeat import asked_again
    from continuum_sim.cli.setting import setting_view
    from continuum_sim.errors import ConfigError
    from continuum_sim.results.files import check_free
    from continuum_sim.results.tables import COLUMNS
    from continuum_sim.runs.execute import execute
    from continuum_sim.setup.resolve import resolve

    if repeated is None:
        flags.config()  # report settings that are wrong by themselves first
        check_acting(context, flags)
    check_force(out, force=force)
    if decisions and out is None:
        raise ConfigError("--decisions writes decisions.jsonl into the run's directory; say which with --out DIR")
    if out is not None:
        check_free(out, force=force)
    with interruptible("interrupted while reading the trace; nothing was written"):
        again = asked_again(context, flags, repeated, changes or [])
        resolved = resolve(flags.config()) if again is None else again.resolve()
    bar = Bar(resolved)
    with interruptible(lambda: f"interrupted after {bar}; nothing was written"), bar:
        result = execute(
            resolved,
            tables=[] if out is None else list(COLUMNS),
            out=out,
            force=force,
            decisions=decisions or (again is not None and again.kept.logged_decisions and out is not None),
            progress=bar.progress,
            command=context.obj,
        )
    if json:
        print(result.summary.to_json(), end="")
        say(*(f"note: {note}" for note in result.summary.notes))
    else:
        show(setting_view(resolved, f"seed {resolved.config.seed}"), lay_out(result.view()))
    if again is not None:
        say(*(f"note: {note}" for note in again.notes(resolved)))
    if out is not None:
        say(f"wrote {out}")
