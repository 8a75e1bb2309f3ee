"""`continuum-sim run`: one trace, one policy."""

from __future__ import annotations

import typer

from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Decisions, Force, Json, Out, check_force
from continuum_sim.cli.setting_flags import Flags, check_acting, takes_run_flags


@takes_run_flags
def run(
    context: typer.Context,
    flags: Flags,
    out: Out = None,
    force: Force = False,
    decisions: Decisions = False,
    json: Json = False,
) -> None:
    """Simulate one trace on one engine, or a cluster of them, under one policy."""
    from continuum_sim.cli.console import say, show
    from continuum_sim.cli.progress import Bar
    from continuum_sim.cli.setting import setting_view
    from continuum_sim.cli.summary_view import summary_view
    from continuum_sim.errors import ConfigError
    from continuum_sim.execute import execute
    from continuum_sim.resolve import resolve
    from continuum_sim.results.files import check_free
    from continuum_sim.results.tables import COLUMNS

    check_acting(context, flags)
    check_force(out, force=force)
    if decisions and out is None:
        raise ConfigError("--decisions writes decisions.jsonl into the run's directory; say which with --out DIR")
    if out is not None:
        check_free(out, force=force)
    with interruptible("interrupted while reading the trace; nothing was written"):
        resolved = resolve(flags.config())
    bar = Bar(resolved.trace)
    with interruptible(lambda: f"interrupted after {bar}; nothing was written"), bar:
        result = execute(
            resolved,
            tables=[] if out is None else list(COLUMNS),
            out=out,
            force=force,
            decisions=decisions,
            progress=bar.progress,
            command=context.obj,
        )
    if json:
        print(result.summary.to_json(), end="")
        say(*(f"note: {note}" for note in result.summary.notes))
    else:
        show(setting_view(resolved, f"seed {flags['seed']}"), summary_view(result.summary))
    if out is not None:
        say(f"wrote {out}")
