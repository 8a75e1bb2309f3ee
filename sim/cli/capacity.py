"""`continuum-sim capacity`: what a service sustains under each policy."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Address, BackendName, Force, Jobs, Json, Out, check_force, make_workers
from continuum_sim.cli.scenario_flags import is_chosen
from continuum_sim.cli.setting_flags import Flags, check_acting, takes_settings
from continuum_sim.setup.run_config import run_settings
from continuum_sim.setup.settings_dict import ServiceSettings

_ASKED = "What is asked"


def _asked(text: str, *names: str, default: bool = False) -> Any:
    return typer.Option(*names, help=text, show_default=default, rich_help_panel=_ASKED)


@takes_settings(*(name for name in run_settings() if name in ServiceSettings.__annotations__))
def capacity(
    context: typer.Context,
    flags: Flags,
    policies: Annotated[
        str,
        typer.Option(
            "--policies",
            "--policy",
            help="Policies, with their parameters.",
            rich_help_panel=_ASKED,
            autocompletion=completer("policy"),
        ),
    ] = "lru,ttl,ttl:pressure=younger",
    rate: Annotated[float | None, _asked("Load to assess, in programs per second. Default: none.", "--rate")] = None,
    slo: Annotated[
        str | None, _asked("Objectives to keep as well, in seconds: p95_jct=300,ttft=2. Default: none.")
    ] = None,
    quick: Annotated[
        bool, _asked("Measure only the service curve, and predict the rest from it.", "--quick", default=True)
    ] = False,
    seeds: Annotated[str, _asked("Seeds of the loads from empty; bursts use the first three.", default=True)] = "0-7",
    programs: Annotated[int, _asked("Arrivals within which a service from empty may collapse.", default=True)] = 2000,
    burst: Annotated[
        int | None, _asked("Programs that arrive at once. Default: 5 times what fits the KV cache.")
    ] = None,
    horizon: Annotated[
        int | None, _asked("Arrivals within which a burst must be gone. Default: 15 times the burst.")
    ] = None,
    jobs: Jobs = -1,
    backend: BackendName = "local",
    address: Address = None,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Find the loads that each policy sustains: its service curve, and what it recovers from and holds from empty.

    With --out, measurements are kept if the command is stopped: the same command goes on from there.
    """
    from continuum_sim.capacities.question import CapacitySpec
    from continuum_sim.capacities.run import run_capacity
    from continuum_sim.cli.console import say, show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.cli.sweep_progress import CellBar
    from continuum_sim.setup.notation import split_list
    from continuum_sim.setup.seeds import parse_seeds
    from continuum_sim.setup.slo import parse_slo

    check_acting(context, flags)
    check_force(out, force=force)
    workers = make_workers(jobs, backend, address)
    spec = CapacitySpec(
        policies=split_list(policies),
        base={name: value for name, value in flags.items() if is_chosen(context, name)},
        rate=rate,
        seeds=parse_seeds(seeds),
        programs=programs,
        burst=burst,
        horizon=horizon,
        slo=parse_slo(slo),
        quick=quick,
    )
    bar = CellBar(0, "measurements")
    kept = "nothing was kept" if out is None else f"what is measured is in {out}; the same command goes on from there"
    with interruptible(lambda: f"interrupted after {bar}; {kept}"), bar:
        found = run_capacity(spec, workers=workers, out=out, force=force, progress=bar.update, command=context.obj)
    if json:
        print(found.to_json(), end="")
    else:
        view = found.view()
        show(*view.setting, "", lay_out(view))
    if out is not None:
        say(f"wrote {out}")
