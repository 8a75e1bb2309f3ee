"""`continuum-sim trace fit`, `trace generate` and `trace compare`: draw more programs like those of a trace."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.outcome import print_written, saying_beside
from continuum_sim.cli.setting_flags import option_of
from continuum_sim.names import files_of, names_in_source

if TYPE_CHECKING:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.traces.compare import Compared
    from continuum_sim.traces.fit import GapFit, TraceFit

_PROFILES: Final = ", ".join(
    sorted(
        [path.stem for path in files_of("continuum_sim.traces", "generate/profiles/*.json")]
        + names_in_source("continuum_sim.traces", "Recipe", "generate/*.py")
    )
)
_Trace = Annotated[
    str, typer.Argument(help="Trace file, or a bundled trace.", metavar="TRACE", autocompletion=completer("trace"))
]


def fit_file(
    name: _Trace,
    out: Annotated[Path, typer.Option("--out", "-o", help="Fit to write (JSON).")],
    picture: Annotated[
        Path | None, typer.Option(help="Draw the tools' times and their fits (.png, .pdf, .svg).", show_default=False)
    ] = None,
    limit: Annotated[int | None, option_of("limit", panel="")] = None,
    about: Annotated[str, typer.Option(help="Where the trace is from; goes into the fit.")] = "",
    json: Json = False,
) -> None:
    """Fit distributions to a trace: turns, sizes, reuse, and how long each tool takes."""
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.errors import ConfigError
    from continuum_sim.traces import find_trace
    from continuum_sim.traces.fit import fit_trace, save_fit

    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, expected at least 1")
    if picture is not None:
        from continuum_sim.plotting.trace_fit import check_picture

        check_picture(picture)
    with interruptible("interrupted while fitting; nothing was written"), counting("programs read") as watch:
        fit = fit_trace(find_trace(name), about=about, limit=limit, watch=watch)
        if picture is not None:
            from continuum_sim.plotting.trace_fit import write_fit_picture

            write_fit_picture(fit, picture)
        save_fit(fit, out)
    with saying_beside(out):
        _show_fit(fit, out, json=json)


def _show_fit(fit: TraceFit, out: Path, *, json: bool) -> None:
    from continuum_sim.cli.console import show
    from continuum_sim.traces.fit.store import encode_fit
    from continuum_sim.traces.printable import printable

    if json:
        print(encode_fit(fit).decode(), end="")
        return
    breaks = fit.breaks
    show(
        printable(f"{out}: {fit.source.programs:,} programs, {fit.source.turns:,} turns of {fit.source.trace}"),
        f"{100 * breaks.output_share:.1f} % of turns lose output of the turn before, "
        f"{100 * breaks.cut_share:.1f} % more of their context\n"
        f"turns of one program are alike: {fit.correlation.new_tokens:.2f} in new prompt tokens, "
        f"{fit.correlation.output_tokens:.2f} in outputs (intraclass correlation)\n",
        _gaps(fit),
    )


def generate_file(
    name: Annotated[
        str,
        typer.Argument(
            help=f"Fit (JSON), or a profile: {_PROFILES}.",
            metavar="FIT",
            autocompletion=completer("profile"),
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Trace to write (.gz, .zst: compressed).")],
    programs: Annotated[int, typer.Option("--programs", "-n", help="How many programs to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    against: Annotated[
        str | None,
        typer.Option(
            "--compare",
            help="Compare the drawn programs with this trace.",
            metavar="TRACE",
            show_default=False,
            autocompletion=completer("trace"),
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Draw programs from a fit, as a trace."""
    from continuum_sim.cli.console import show_lines
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.errors import ConfigError
    from continuum_sim.names import clipped
    from continuum_sim.traces import find_trace
    from continuum_sim.traces.generate import Recipe, find_profile, generate_trace
    from continuum_sim.traces.schema import MOST_PROGRAMS

    for flag, value, least in (("--programs", programs, 1), ("--seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{flag} is {value}, expected at least {least}")
    if programs > MOST_PROGRAMS:
        raise ConfigError(f"--programs is {clipped(str(programs))}, expected at most {MOST_PROGRAMS:,}")
    fit = find_profile(name)
    beside = None if against is None else find_trace(against)
    with interruptible("interrupted while drawing; nothing was written"), counting("programs drawn") as watch:
        drawn = generate_trace(fit, programs, seed, out, name=Path(name).stem, watch=watch)
    source = f"to match {fit.figures}" if isinstance(fit, Recipe) else f"from a fit of {fit.source.trace}"
    with saying_beside(out):
        if json:
            compared = {} if beside is None else {"compared": [asdict(row) for row in _compared(beside, out)]}
            print_written(out, programs=drawn, seed=seed, **compared)
            return
        show_lines(f"{out}: {drawn:,} programs drawn {source}, seed {seed}")
    if beside is not None:
        show_lines("")
        _show_compared(beside, out, json=False)


def compare_files(first: _Trace, second: _Trace, json: Json = False) -> None:
    """Compare two traces side by side: quantiles, and how far apart the distributions are."""
    from continuum_sim.traces import find_trace

    _show_compared(find_trace(first), find_trace(second), json=json)


def _compared(first: Path, second: Path) -> tuple[Compared, ...]:
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.traces import read_programs
    from continuum_sim.traces.compare import compare_traces

    with interruptible("interrupted while comparing"), counting("programs read") as watch:
        return compare_traces(watch(read_programs(first)), read_programs(second))


def _show_compared(first: Path, second: Path, *, json: bool) -> None:
    from continuum_sim.cli.console import show
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.traces.printable import printable

    rows = _compared(first, second)
    if json:
        print(to_json([asdict(row) for row in rows]), end="")
        return
    show(
        _sides(rows),
        "",
        printable(
            f"A: {first.name}, B: {second.name}; D: largest distance of the distribution functions; by chance: "
            "its 5 % point for independent values"
        ),
    )


def _sides(rows: tuple[Compared, ...], most: int = 20) -> StackedTable:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.numbers import seconds
    from continuum_sim.results.view import Column, joined, name, numbers

    figures = ("mean", "p50", "p90", "p99")
    sides = [column for figure in figures for column in (Column(f"{figure} A"), *joined("B"))]
    table = StackedTable([name(""), *sides, *numbers("D"), *joined("by chance")])
    for row in rows[:most]:
        pairs = [(getattr(row.a, figure), getattr(row.b, figure)) for figure in figures]
        cells = [seconds(value) for pair in pairs for value in pair]
        table.add_row(row.name, *cells, f"{row.ks:.3f}", f"{row.by_chance:.3f}")
    return table


def _gaps(fit: TraceFit, most: int = 15) -> StackedTable:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.view import joined, name, numbers, words

    one = [*numbers("calls", "mean s", "log-normal: median s"), *joined("sigma", "D", "AIC")]
    two = [*numbers("mixture: medians s"), *joined("sigmas", "D", "AIC")]
    table = StackedTable([name("tool"), *one, *two, words("drawn from")])
    tools = [(tool_name, tool.gap_s) for tool_name, tool in fit.tools.items() if tool.gap_s is not None][:most]
    if fit.rare_tools is not None and fit.rare_tools.gap_s is not None:
        tools.append(("(rare tools)", fit.rare_tools.gap_s))
    for tool_name, gap in tools:
        table.add_row(*_gap_cells(tool_name, gap))
    return table


def _gap_cells(name: str, gap: GapFit) -> list[str]:
    from math import exp

    from continuum_sim.results.numbers import seconds

    one, two = gap.lognormal, gap.mixture
    cells = [name, f"{gap.calls:,}", seconds(gap.mean_s)]
    if one is None:
        cells += ["", "", "", ""]
    else:
        cells += [seconds(exp(one.mu)), f"{one.sigma:.2f}", f"{one.ks:.3f}", f"{one.aic:,.0f}"]
    if two is None:
        cells += ["", "", "", ""]
    else:
        medians = f"{100 * two.weight:.0f} % {seconds(exp(two.mu))}, {seconds(exp(two.slow_mu))}"
        cells += [medians, f"{two.sigma:.2f}, {two.slow_sigma:.2f}", f"{two.ks:.3f}", f"{two.aic:,.0f}"]
    used = {"empirical": "quantiles", "lognormal": "log-normal", "mixture": "mixture"}
    return [*cells, used[gap.used]]
