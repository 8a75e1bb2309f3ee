"""`continuum-sim compare`: several policies on the same load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Force, Jobs, Json, Out, check_force
from continuum_sim.cli.setting_flags import Flags, check_acting, takes_run_flags

if TYPE_CHECKING:
    from continuum_sim.cli.progress import Bar


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
    seeds: Annotated[
        str, typer.Option(help="Seeds of the arrivals and, with a length, of each run's programs: 0,1,2 or 0-9.")
    ] = "0-4",
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Policy that the others are measured against. Default: the first.",
            show_default=False,
            autocompletion=completer("policy"),
        ),
    ] = None,
    min_effect: Annotated[
        str, typer.Option(help="Smallest difference from the baseline for which a policy is called faster or slower.")
    ] = "1%",
    jobs: Jobs = 1,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Simulate several policies on the same trace, arrivals and seeds, and tell differences from noise.

    With --out, finished runs are kept if the command is stopped: the same command goes on from there.
    """
    from continuum_sim.cli.console import say, show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.cli.progress import Bar
    from continuum_sim.cli.setting import setting_view
    from continuum_sim.results.files import MANIFEST
    from continuum_sim.runs.comparison import plan_comparison, run_comparison
    from continuum_sim.runs.comparison_store import check_place
    from continuum_sim.setup.notation import split_list
    from continuum_sim.setup.seeds import parse_seeds

    check_acting(context, flags)
    check_force(out, force=force)
    if out is not None:
        check_place(out, force=force)
    seed_list = parse_seeds(seeds)
    with interruptible("interrupted while reading the trace; nothing was written"):
        plan = plan_comparison(split_list(policies), seed_list, baseline=baseline, min_effect=min_effect, **flags)
    bar = Bar(plan.first, runs=len(plan.configs))
    earlier = out is not None and (out / MANIFEST).is_file()
    with interruptible(lambda: f"interrupted after {bar}; {_left(out, bar, earlier=earlier, force=force)}"), bar:
        result = run_comparison(
            plan,
            jobs=jobs,
            out=out,
            force=force,
            on_run=bar.run_done,
            progress=bar.progress,
            command=context.obj,
        )
        view = result.view()  # inside the bar: it takes a while, too
    if json:
        print(result.to_json(), end="")
    else:
        setting = setting_view(plan.first, f"seeds {seeds}" if len(seed_list) > 1 else f"seed {seeds}")
        show(setting, lay_out(view))
    if out is not None:
        say(f"wrote {out}")


def _left(out: Path | None, bar: Bar, *, earlier: bool, force: bool) -> str:
    """Return what an interrupted comparison left behind, as text."""
    from continuum_sim.results.unfinished import COMPARISON, unfinished_manifest

    if out is not None and unfinished_manifest(out) is not None:
        same = "the same command without --force" if force else "the same command"
        return f"finished runs are in {out}; {same} goes on from there"
    if out is not None and (out / COMPARISON).is_file():
        return f"the results are in {out}" if bar.runs_done else f"nothing was written; {out} is as it was"
    return "nothing was written" + (f"; the earlier results in {out} are gone (--force)" if earlier else "")
