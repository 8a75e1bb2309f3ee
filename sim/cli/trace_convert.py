"""`continuum-sim trace import` and `trace export`: convert traces from and to other tools' formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from continuum_sim.cli.complete import CONTINUUM, completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.outcome import print_written, saying_beside
from continuum_sim.cli.setting_flags import option_of
from continuum_sim.names import names_in_source

if TYPE_CHECKING:
    from continuum_sim.traces.importers import Imported

_FORMATS: Final = ", ".join(names_in_source("continuum_sim.traces", "Exporter", "exporters/*.py"))
_BlockSize = Annotated[int | None, typer.Option(help="Tokens in a block of hash_ids. Default: the format's.")]


def import_files(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders; gzip and zstd are read directly.", metavar="FILE…")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Their format. Default: detected from how they begin.",
            metavar="FORMAT",
            autocompletion=completer("importer"),
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Trace to write (.gz, .zst: compressed).")] = Path(
        "trace.jsonl"
    ),
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="tokenizer.json (or its folder) that counts tokens, for formats that hold text only."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and count bad records, instead of stopping at the first.")
    ] = False,
    block_size: _BlockSize = None,
    formats: Annotated[bool, typer.Option("--formats", help="List the formats and exit.")] = False,
    json: Json = False,
) -> None:
    """Make a trace from the logs of agents, or from other tools' formats."""
    if formats:
        _list_formats(json)
        return
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.errors import ConfigError
    from continuum_sim.traces.importers import import_trace

    if not files:
        raise ConfigError("no file given, expected the files to import (trace import --formats lists the formats)")
    with interruptible("interrupted while importing; nothing was written"), _bytes_bar() as progress:
        made = import_trace(
            files,
            out,
            format=format,
            tokenizer=tokenizer,
            skip_bad=skip_bad,
            block_size=block_size,
            progress=progress,
        )
    with saying_beside(out):
        _show_imported(made, given=format is not None, json=json)


def export_file(
    name: Annotated[
        str,
        typer.Argument(
            help="Trace file, or a bundled trace; for continuum a run's directory.",
            metavar="TRACE",
            autocompletion=completer("trace"),
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help=f"{_FORMATS}, or {CONTINUUM} (of a run).",
            metavar="FORMAT",
            autocompletion=completer("exporter"),
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; for weka and continuum a new folder.")],
    limit: Annotated[int | None, option_of("limit", panel="")] = None,
    max_turns: Annotated[int | None, option_of("max_turns", panel="")] = None,
    block_size: _BlockSize = None,
    json: Json = False,
) -> None:
    """Write a trace in the format of another tool, or a run as Continuum's own code logs it."""
    from continuum_sim.cli.console import show_lines
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.errors import ConfigError
    from continuum_sim.names import check_names
    from continuum_sim.traces import TraceError, export_trace, find_trace, read_programs
    from continuum_sim.traces.exporters import EXPORTERS

    check_names([to], [*EXPORTERS.load(), CONTINUUM], "format", error=TraceError)
    for flag, value in (("limit", limit), ("max-turns", max_turns), ("block-size", block_size)):
        if value is not None and value < 1:
            raise ConfigError(f"--{flag} is {value}, expected at least 1")
        if value is not None and to == CONTINUUM:
            raise ConfigError(f"--{flag} is for traces; --to {CONTINUUM} writes the whole of a run")
    if to == CONTINUUM:
        _export_run(Path(name), out, json=json)
        return
    if block_size is not None and not EXPORTERS[to].block_size:
        raise ConfigError(f"--block-size does nothing for {to}, which has no blocks; leave it out")
    path = find_trace(name)
    with interruptible("interrupted while exporting; nothing was written"), counting("programs written") as watch:
        programs = watch(read_programs(path, limit=limit, max_turns=max_turns))
        written = export_trace(programs, to, out, block_size=block_size)
    with saying_beside(out):
        if json:
            print_written(out, programs=written, format=to)
        else:
            show_lines(f"{out}: {written:,} programs of {path.name} as {to}")


def _export_run(directory: Path, out: Path, *, json: bool) -> None:
    from continuum_sim.cli.console import show_lines
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import share_bar
    from continuum_sim.tracks import export_continuum

    with interruptible("interrupted while exporting; nothing was written"), share_bar(f"writing {out.name}") as bar:
        done = export_continuum(directory, out, progress=bar)
    if json:
        print_written(out, jobs=done.jobs, requests=done.requests, format=CONTINUUM, decisions=done.logged)
        return
    lacks = "" if done.logged else "; no pins and preemptions: the run has no decisions.jsonl (see --decisions)"
    show_lines(
        f"{out}: scheduler_timestamps and results.json of {_counted(done.jobs, 'job')}, "
        f"{_counted(done.requests, 'request')}{lacks}"
    )


def _show_imported(made: Imported, *, given: bool, json: bool) -> None:
    from dataclasses import asdict

    from continuum_sim.cli.console import say, show_lines
    from continuum_sim.results.jsonfile import to_json

    header = made.header
    if made.first_skipped:
        say(f"{_counted(header.skipped, 'bad record')} left out; the first:")
        say(*(f"  {line}" for line in made.first_skipped))
    if made.passed_over:
        say(f"{_counted(made.passed_over, 'file')} passed over: unknown format")
    if json:
        print(to_json({**asdict(made), "path": str(made.path)}), end="")
        return
    told = "" if given else f" (told by how the files begin, {made.sure:.0%} sure)"
    lines = [
        f"{made.path}: {_counted(made.programs, 'program')}, {_counted(made.turns, 'turn')} "
        f"from {_counted(header.files, 'file')}",
        f"format    {made.format}{told}",
    ]
    for label, items in (("measured", header.measured), ("derived", header.derived), ("missing", header.missing)):
        lines += [f"{label if not index else '':<9} {item}" for index, item in enumerate(items)]
    for index, (note, times) in enumerate(header.notes.items()):
        lines.append(f"{'adjusted' if not index else '':<9} {note}: {times:,}")
    found = made.plausibility
    lines.append(f"tokens    {found.input_tokens:,} of prompts, {found.output_tokens:,} of outputs; {found.longest}")
    lines.append(f"plausible {found.doubts}")
    show_lines(*lines)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _list_formats(json: bool) -> None:
    from continuum_sim.cli.console import show
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.results.view import name, words
    from continuum_sim.traces.importers import importers

    known = importers().values()
    if json:
        print(to_json([{"name": one.name, "title": one.title, "source": one.source} for one in known]), end="")
        return
    table = StackedTable([name("format"), words("what"), words("in folders")])
    for one in known:
        table.add_row(one.name, one.title, ", ".join(one.patterns))
    show(table)


@contextmanager
def _bytes_bar() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how much of the files has been read."""
    from continuum_sim.cli.console import messages
    from continuum_sim.interrupts import stop_if_asked

    console = messages()
    if not console.is_terminal:
        yield lambda done, total: stop_if_asked()
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def progress(done: int, total: int) -> None:
            stop_if_asked()
            bar.update(task, completed=done, total=total)

        yield progress
