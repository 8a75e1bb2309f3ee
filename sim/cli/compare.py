"""`continuum-sim compare`: several policies on the same load."""

from __future__ import annotations

from typing import Annotated

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Force, Json, Out, check_force
from continuum_sim.cli.setting_flags import Flags, check_acting, takes_run_flags


@takes_run_flags
def compare(
    context: typer.Context,
    flags: Flags,
    policies: Annotated[
        str,
        typer.Option(
            help="Policies, with their parameters: fcfs,lru,ttl-static:ttl=2,ttl:pressure=head",
            autocompletion=completer("policy"),
        ),
    ] = "fcfs,lru,program-fifo,ttl-static,ttl",
    seeds: Annotated[str, typer.Option(help="Seeds of the arrivals: 0,1,2 or 0-9.")] = "0",
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Policy the others are measured against. Default: the first.",
            show_default=False,
            autocompletion=completer("policy"),
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes to run on; -1 is one a core.")] = 1,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Simulate several policies on the same trace, arrivals and seeds, and tell differences from noise."""
    from continuum_sim.cli.compare_view import comparison_view
    from continuum_sim.cli.console import say, show
    from continuum_sim.cli.progress import Bar
    from continuum_sim.cli.setting import setting_view
    from continuum_sim.comparison import plan_comparison, run_comparison
    from continuum_sim.results.files import check_free
    from continuum_sim.seeds import parse_seeds
    from continuum_sim.spec import split_list

    check_acting(context, flags)
    check_force(out, force=force)
    if out is not None:
        check_free(out, force=force)
    seed_list = parse_seeds(seeds)
    with interruptible("interrupted while reading the trace; nothing was written"):
        plan = plan_comparison(split_list(policies), seed_list, baseline=baseline, **flags)
    bar = Bar(plan.first.trace, runs=len(plan.configs))
    with interruptible(lambda: f"interrupted after {bar}; nothing was written"), bar:
        result = run_comparison(
            plan,
            jobs=jobs,
            out=out,
            force=force,
            on_run=bar.run_done,
            progress=bar.progress,
            command=context.obj,
        )
        differences = result.paired  # takes a while too
    if json:
        print(result.to_json(), end="")
    else:
        setting = setting_view(plan.first, f"seeds {seeds}" if len(seed_list) > 1 else f"seed {seeds}")
        show(setting, comparison_view(result.rows, differences))
    if out is not None:
        say(f"wrote {out}")
