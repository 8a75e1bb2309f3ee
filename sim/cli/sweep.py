"""`continuum-sim sweep`: run a grid or list of settings into a dataset that can be resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from continuum_sim.cli.complete import completer
from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Address, BackendName, Jobs, Json, make_workers
from continuum_sim.cli.scenario_flags import is_given
from continuum_sim.cli.setting_flags import Flags, check_acting, given_flags, takes_run_flags
from continuum_sim.cli.sweep_tune import tune

if TYPE_CHECKING:
    from continuum_sim.sweeps.plan import SweepSpec


class _SweepGroup(TyperGroup):
    """`sweep …` means `sweep run …`, unless the name of another subcommand follows."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `run` before arguments that do not start with a subcommand."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


sweep = typer.Typer(
    cls=_SweepGroup,
    help="Run a grid or list of settings, or look for a policy's best parameters.",
    no_args_is_help=False,
)

sweep.command("tune")(tune)

_GRID = "Grid"


def _grid(text: str, *flags: str, names: str = "") -> Any:
    return typer.Option(*flags, help=text, show_default=False, rich_help_panel=_GRID, autocompletion=completer(names))


@sweep.command("run")
@takes_run_flags
def run_sweep(
    context: typer.Context,
    flags: Flags,
    file: Annotated[
        Path | None,
        typer.Argument(help="TOML file with [base], [grid] and [[cells]]; flags override it.", metavar="FILE"),
    ] = None,
    policies: Annotated[str | None, _grid("Policies: lru,ttl,ttl-static:ttl=2", names="policy")] = None,
    rates: Annotated[
        str | None,
        _grid("Programs per second: 0.05,0.1 (the rate of --arrivals, else poisson).", "--rates", "--rate"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of the arrivals: 0-9.", rich_help_panel=_GRID)] = None,
    vary: Annotated[
        list[str] | None,
        _grid(
            "One more axis, any setting of a run: kv_blocks=4000,8000. Values with commas: separate by ';'.",
            names="setting",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the dataset; resumed if it is there.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Start over instead of resuming --out.")] = False,
    jobs: Jobs = -1,
    backend: BackendName = "local",
    address: Address = None,
    json: Json = False,
) -> None:
    """Run every combination of policies, rates, seeds and other settings; one row per cell in a Parquet dataset.

    The same command resumes where the last one stopped: finished cells never run again. See also: sweep tune.
    """
    from continuum_sim.cli.console import say, show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.cli.sweep_progress import CellBar
    from continuum_sim.errors import ConfigError
    from continuum_sim.results.view.sweep import failure_lines, sweep_json, unfit_lines
    from continuum_sim.sweeps.plan import SweepSpec, plan_sweep
    from continuum_sim.sweeps.run import run_sweep as run_plan
    from continuum_sim.sweeps.settings import check_setting
    from continuum_sim.sweeps.spec_file import read_spec

    if out is None:
        raise ConfigError("a sweep needs a place for its dataset: give --out DIR")
    workers = make_workers(jobs, backend, address)
    spec = _asked_by_name(context.params.get("scenario"))
    if file is not None:
        inside = read_spec(file)
        spec = SweepSpec({**spec.base, **inside.base}, {**spec.grid, **inside.grid}, inside.cells)
    # A scenario's policies are already in its grid.
    axes: dict[str, Any] = {"policy": policies if is_given(context, "policies") else None, "rate": rates, "seed": seeds}
    grid = {name: text for name, text in axes.items() if text is not None}
    for item in vary or ():
        name, sign, text = item.partition("=")
        if not sign or not text.strip():
            raise ConfigError(f"--vary {item!r} is not of the form setting=value,value, as in kv_blocks=4000,8000")
        grid[check_setting(name, "--vary")] = text
    spec = SweepSpec({**spec.base, **given_flags(context, flags)}, {**spec.grid, **grid}, spec.cells)
    check_acting(context, spec.base, {*spec.grid, *(name for cell in spec.cells for name in cell)})
    if file is None and context.params.get("scenario") is None and not spec.grid:
        raise ConfigError(
            "nothing to vary: give --policies, --rates, --seeds or --vary (--policies lru,ttl), a FILE or --scenario; "
            "for one run there is `run`"
        )
    with interruptible("interrupted while planning; nothing was written"):
        plan = plan_sweep(spec)
    bar = CellBar(len(plan.cells))
    kept = f"finished cells are in {out}; the same command goes on from there"
    with interruptible(lambda: f"interrupted after {bar}; {kept}"), bar:
        result = run_plan(plan, out=out, force=force, workers=workers, progress=bar.update, command=context.obj)
    if json:
        print(sweep_json(result), end="")
    elif len(bar):
        show(lay_out(replace(result.view(), notes=())))  # notes go to standard error
    say(f"wrote {out}: {bar}", *(f"note: {line}" for line in unfit_lines(result)))
    if result.failures:
        say(*failure_lines(result.failures))
        raise ConfigError(f"{len(result.failures)} cells failed; the same command tries them again")


def _asked_by_name(scenario: str | None) -> SweepSpec:
    from continuum_sim.scenarios import find_scenario
    from continuum_sim.sweeps.plan import SweepSpec

    if scenario is None:
        return SweepSpec()
    found = find_scenario(scenario)
    return SweepSpec(found.base, {axis: found.axis(axis) for axis in found.grid})
