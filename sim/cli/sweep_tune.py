"""`continuum-sim sweep tune`: the best parameters of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Jobs, Json
from continuum_sim.cli.scenario_flags import is_chosen
from continuum_sim.cli.setting_flags import Flags, check_acting, takes_run_flags

_SEARCH = "Search"


def _search(text: str, *names: str, default: bool = True) -> Any:
    return typer.Option(*names, help=text, show_default=default, rich_help_panel=_SEARCH)


@takes_run_flags
def tune(
    context: typer.Context,
    flags: Flags,
    policy: Annotated[
        str,
        typer.Argument(
            help="Preset to tune; parameters given with it stay fixed.",
            metavar="POLICY",
            autocompletion=completer("policy"),
        ),
    ],
    param: Annotated[
        list[str] | None,
        _search("ttl=0.1:60:log, pressure=head|younger, or a name alone. Default: all that state a range."),
    ] = None,
    trials: Annotated[int, _search("Settings to try, earlier ones in --out included.")] = 40,
    seeds: Annotated[str, _search("Seeds of the arrivals to search on.", "--seeds")] = "0-4",
    holdout: Annotated[str, _search("Other seeds, to judge the result by.")] = "100-109",
    rate: Annotated[float | None, _search("Programs per second: the rate of --arrivals.", default=False)] = None,
    metric: Annotated[str, _search("Statistic of the JCT to minimise: mean, p50, p90, p95, p99.")] = "mean",
    seed: Annotated[int, _search("Seed of the search itself.", "--search-seed")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the search; resumed if it is there.", show_default=False)
    ] = None,
    jobs: Jobs = -1,
    json: Json = False,
) -> None:
    """Look for the parameters of a policy with the smallest JCT, and judge them on seeds the search has not seen."""
    from rich.text import Text

    from continuum_sim.cli.console import say, show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.errors import ConfigError
    from continuum_sim.setup.seeds import parse_seeds
    from continuum_sim.sweeps.tune import TuneSpec, run_tune
    from continuum_sim.sweeps.workers import Workers

    check_acting(context, flags)
    chosen = {name: value for name, value in flags.items() if is_chosen(context, name)}
    parameters: dict[str, str | None] = {}
    for item in param or ():
        name, sign, text = (part.strip() for part in item.partition("="))
        if sign and not text:
            raise ConfigError(f"--param {item!r} has no range, expected one as in ttl=0.1:60:log, or the name alone")
        parameters[name.replace("-", "_")] = text if sign else None
    spec = TuneSpec(
        policy=policy,
        parameters=parameters,
        trials=trials,
        seeds=parse_seeds(seeds),
        holdout=parse_seeds(holdout),
        metric=metric,
        seed=seed,
        base={**chosen, **({} if rate is None else {"rate": rate})},
    )
    bar = _TrialBar(trials)
    kept = "nothing was kept" if out is None else f"finished runs are in {out}; the same command goes on from there"
    with interruptible(lambda: f"interrupted after {bar}; {kept}"), bar:
        found = run_tune(spec, out=out, workers=Workers(jobs), progress=bar.update, command=context.obj)
    view = found.view()
    if json:
        print(found.to_json(), end="")
        say(*(f"note: {note.text}" for note in view.notes))
    else:
        show(Text(view.title, style="bold"), "", lay_out(view))
    if out is not None:
        say(f"wrote {out}")


class _TrialBar:
    """Trials done, drawn on a terminal with the time that remains."""

    def __init__(self, trials: int) -> None:
        self._trials, self._done, self._best = trials, 0, ""
        self._bar: Any = None

    def __str__(self) -> str:
        return f"{self._done} of {self._trials} trials{self._best}"

    def __enter__(self) -> _TrialBar:
        from continuum_sim.cli.console import messages
        from continuum_sim.cli.progress import described

        console = messages()
        if console.is_terminal:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

            columns = (
                BarColumn(),
                TaskProgressColumn(),
                described(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True, refresh_per_second=4)
            self._bar.add_task(str(self), total=self._trials)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: Any) -> None:
        """Record the progress of the search; stops here if asked to."""
        from continuum_sim.interrupts import stop_if_asked
        from continuum_sim.results.numbers import seconds

        stop_if_asked()

        _, self._done, best_s = progress
        self._best = "" if best_s is None else f", best {seconds(best_s)} s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, description=str(self))
