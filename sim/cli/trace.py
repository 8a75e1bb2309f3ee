"""`continuum-sim trace`: list traces and describe them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.setting_flags import option_of
from continuum_sim.cli.trace_anonymize import anonymize_file
from continuum_sim.cli.trace_convert import export_file, import_files
from continuum_sim.cli.trace_fit import compare_files, fit_file, generate_file
from continuum_sim.cli.trace_mix import mix_files
from continuum_sim.cli.trace_scale import check_file, scale_file

if TYPE_CHECKING:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.traces.schema import Program
    from continuum_sim.traces.stats import TraceStats

trace = typer.Typer(
    help="List, describe, import, export, check, scale, mix, anonymize, fit and generate traces.", no_args_is_help=False
)
trace.command("import")(import_files)
trace.command("export")(export_file)
trace.command("check")(check_file)
trace.command("scale")(scale_file)
trace.command("mix")(mix_files)
trace.command("anonymize")(anonymize_file)
trace.command("fit")(fit_file)
trace.command("generate")(generate_file)
trace.command("compare")(compare_files)


@trace.callback(invoke_without_command=True)
def _top(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@trace.command("list")
def list_traces(json: Json = False) -> None:
    """List the bundled traces."""
    from continuum_sim.cli.console import show
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.results.view import name, numbers, words
    from continuum_sim.traces import bundled_traces, read_programs

    rows = []
    for trace_name, path in bundled_traces().items():
        families = [[len(member.turns) for member in program.family()] for program in read_programs(path)]
        rows.append(
            {"name": trace_name, "programs": len(families), "turns": sum(map(sum, families)), "path": str(path)}
        )
    if json:
        print(to_json(rows), end="")
        return
    table = StackedTable([name("trace"), *numbers("programs", "turns"), words("path")])
    for row in rows:
        table.add_row(str(row["name"]), f"{row['programs']:,}", f"{row['turns']:,}", str(row["path"]))
    show(table)


@trace.command("stats")
def trace_stats(
    name: Annotated[
        str, typer.Argument(help="Trace file, or a bundled trace.", metavar="NAME", autocompletion=completer("trace"))
    ],
    limit: Annotated[int | None, option_of("limit", panel="")] = None,
    max_turns: Annotated[int | None, option_of("max_turns", panel="")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Directory to draw pictures into, with their data.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Describe a trace: turns, tokens, reuse, tool times."""
    from continuum_sim.cli.console import show
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.errors import ConfigError
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.traces import find_trace, read_programs
    from continuum_sim.traces import trace_stats as describe
    from continuum_sim.traces.printable import printable

    for flag, value in (("limit", limit), ("max_turns", max_turns)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} is {value}, expected at least 1")
    path = find_trace(name)
    with interruptible("interrupted while reading the trace"):
        with counting("programs read") as watch:
            stats = describe(watch(read_programs(path, limit=limit, max_turns=max_turns)))
        if pictures is not None:
            _draw(read_programs(path, limit=limit, max_turns=max_turns), pictures)
    if json:
        print(to_json(asdict(stats)), end="")
        return
    show(
        printable(
            f"{path.name}: {stats.programs:,} programs, {_more(stats)}{stats.turns:,} turns; "
            f"arrival times in {stats.programs_with_arrival:,} of them"
        ),
        f"{100 * stats.kept_share:.1f} % of prompt tokens come from the previous turn; "
        f"{stats.broken_prefixes:,} turns keep less than all of it\n",
        _samples(stats),
        "",
        _tools(stats),
    )


def _draw(programs: Iterator[Program], directory: Path) -> None:
    from continuum_sim.cli.console import say
    from continuum_sim.plotting.trace_stats import draw_trace

    result = draw_trace(programs, directory)
    for one in result.skipped:
        say(f"no picture of {one.name}: it {one.missing}")
    say(f"wrote {result.directory}")


def _more(stats: TraceStats) -> str:
    """Return counts of sub-agents and parallel tools, which few traces have, as text."""
    children = f"{stats.children:,} sub-agents, " if stats.children else ""
    return children + (f"{stats.parallel_gaps:,} gaps with several tools at once, " if stats.parallel_gaps else "")


def _samples(stats: TraceStats) -> StackedTable:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.numbers import seconds
    from continuum_sim.results.view import name, numbers

    figures = ("mean", "sd", "min", "p50", "p90", "p99", "max")
    table = StackedTable([name(""), *numbers(*figures)])
    samples = {
        "turns a program": stats.turns_per_program,
        "final context, tokens": stats.final_context_tokens,
        "largest context, tokens": stats.max_context_tokens,
        "tokens a program, summed": stats.total_tokens_per_program,
        "prompt tokens a turn": stats.input_tokens,
        "new prompt tokens a turn": stats.new_tokens,
        "output tokens a turn": stats.output_tokens,
        "tool seconds": stats.tool_s,
    }
    for label, sample in samples.items():
        table.add_row(label, *(seconds(getattr(sample, figure)) for figure in figures))
    return table


def _tools(stats: TraceStats, most: int = 15) -> StackedTable:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.numbers import percent, seconds
    from continuum_sim.results.view import name, numbers

    title = "Tools, most total time first"
    if len(stats.tools) > most:
        title += f" (the first {most} of {len(stats.tools)}; all of them with --json)"
    heads = ("calls", "mean s", "p50 s", "p90 s", "p99 s", "max s", "total s", "of all tool time")
    table = StackedTable([name("tool"), *numbers(*heads, "in its slowest tenth")], title)
    for tool in stats.tools[:most]:
        d = tool.duration_s
        table.add_row(
            tool.tool,
            f"{tool.calls:,}",
            *(seconds(x) for x in (d.mean, d.p50, d.p90, d.p99, d.max, tool.total_s)),
            percent(tool.time_share),
            percent(tool.slowest_tenth_share),
        )
    return table
