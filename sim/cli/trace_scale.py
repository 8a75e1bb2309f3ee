"""`continuum-sim trace check` and `trace scale`: validate a trace, or write it in another size."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.outcome import print_written, saying_beside
from continuum_sim.cli.setting_flags import option_of, value_of_switches


def check_file(
    name: Annotated[
        str, typer.Argument(help="Trace file, or a bundled trace.", metavar="TRACE", autocompletion=completer("trace"))
    ],
    json: Json = False,
) -> None:
    """Read a trace to its end and print its contents, or its first fault (exit code 2)."""
    from continuum_sim.cli.console import show_lines
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.traces import check_trace, find_trace

    with interruptible("interrupted while reading the trace"), counting("programs read") as watch:
        found = check_trace(find_trace(name), watch=watch)
    if json:
        print(to_json({**asdict(found), "path": str(found.path)}), end="")
        return
    children = f"{found.children:,} sub-agents, " if found.children else ""
    source = "no header" if found.header is None else f"format {found.header.format}"
    show_lines(
        f"{found.path.name}: no fault ({source})",
        f"{found.programs:,} programs, {children}{found.turns:,} turns; "
        f"arrival times in {found.programs_with_arrival:,} of them",
        f"{found.input_tokens:,} prompt tokens, {found.new_tokens:,} of them new; "
        f"{found.output_tokens:,} output tokens; {found.tool_s:,.0f} s of gaps",
        found.plausibility.longest,
        f"plausible: {found.plausibility.doubts}",
    )


def scale_file(
    name: Annotated[
        str, typer.Argument(help="Trace file, or a bundled trace.", metavar="TRACE", autocompletion=completer("trace"))
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Trace to write (.gz, .zst: compressed).")],
    scale: Annotated[
        str | None, typer.Option(help="What to divide by: tokens=8,gaps=4,outputs=2 (below 1 enlarges).")
    ] = None,
    tail: Annotated[
        str | None,
        typer.Option(help="Stretch calls beyond a quantile of their tool's, after scaling: quantile=0.9,stretch=3."),
    ] = None,
    limit: Annotated[int | None, option_of("limit", panel="")] = None,
    max_turns: Annotated[int | None, option_of("max_turns", panel="")] = None,
    max_model_len: Annotated[
        int | None, typer.Option(help="Longest context, prompt plus output of a turn, in tokens.", show_default=False)
    ] = None,
    drop_unfit: Annotated[
        bool, typer.Option("--drop-unfit", help="Leave out programs with a context above --max-model-len.")
    ] = False,
    truncate_unfit: Annotated[
        bool, typer.Option("--truncate-unfit", help="Cut programs before their first context above --max-model-len.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a trace in another size: divide contexts, outputs or gaps, stretch tails, leave out what is too long."""
    from continuum_sim.cli.console import show_lines
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.errors import ConfigError
    from continuum_sim.traces import Fitting, find_trace
    from continuum_sim.traces.rescale import rescale_trace
    from continuum_sim.traces.scale import parse_scale, parse_tail

    unfit = value_of_switches("unfit", {"--drop-unfit": drop_unfit, "--truncate-unfit": truncate_unfit})
    if (unfit is None) != (max_model_len is None):
        lacks = "--max-model-len TOKENS" if max_model_len is None else "--drop-unfit or --truncate-unfit"
        has = f"--{unfit}-unfit" if max_model_len is None else "--max-model-len"
        raise ConfigError(f"{has} does nothing without {lacks}; give that too, or leave it out")
    if not scale and not tail and unfit is None:
        raise ConfigError(
            "nothing to change: give --scale tokens=8,gaps=4, --tail quantile=0.9,stretch=3, or --max-model-len TOKENS"
        )
    for flag, value in (("limit", limit), ("max_turns", max_turns), ("max_model_len", max_model_len)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} is {value}, expected at least 1")
    fitting = None if unfit is None or max_model_len is None else Fitting(unfit, max_model_len)
    with interruptible("interrupted while scaling; nothing was written"), counting("programs scaled") as watch:
        programs = rescale_trace(
            find_trace(name),
            out,
            scale=parse_scale(scale),
            tail=None if tail is None else parse_tail(tail),
            limit=limit,
            max_turns=max_turns,
            fitting=fitting,
            watch=watch,
        )
    with saying_beside(out):
        if json:
            print_written(out, programs=programs, **({} if fitting is None else fitting.plain()))
        else:
            show_lines(f"{out}: {programs:,} programs", *([] if fitting is None else [str(fitting)]))
