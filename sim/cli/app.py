"""The commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated, Final

import typer

from continuum_sim.cli.compare import compare
from continuum_sim.cli.errors import INTERRUPTED, Interrupted, say_error, user_errors
from continuum_sim.cli.figures import figures
from continuum_sim.cli.hardware import hardware
from continuum_sim.cli.help import with_plain_help
from continuum_sim.cli.policies import policies
from continuum_sim.cli.report import report
from continuum_sim.cli.run import run
from continuum_sim.cli.scenarios import scenarios
from continuum_sim.cli.sweep import sweep
from continuum_sim.cli.timeline import timeline
from continuum_sim.cli.trace import trace

PROGRAM: Final = "continuum-sim"
_DEBUG: Final = "--debug"

app = typer.Typer(
    name=PROGRAM,
    help="Simulate LLM agents on a vLLM engine, under any scheduling and KV-retention policy.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(run)
app.command()(compare)
app.command()(report)
app.add_typer(sweep, name="sweep")
app.command()(timeline)
app.command()(figures)
app.command()(policies)
app.command()(scenarios)
app.command()(hardware)
app.add_typer(trace, name="trace")


def _add_commands_of_others() -> None:
    """Add the commands of packages that build on this one (`parity`, other people's), found by entry point.

    So the simulator does not depend on them. Their modules must be cheap to import, and one that cannot be imported
    takes nothing else down with it.
    """
    for point in entry_points(group="continuum_sim.commands"):
        try:
            app.command(point.name)(point.load())
        except Exception as error:
            print(f"warning: command {point.name!r} cannot be loaded ({point.value}): {error}", file=sys.stderr)


_add_commands_of_others()


def _print_version(wanted: bool) -> None:
    if wanted:
        from continuum_sim import __version__
        from continuum_sim.build import build_name

        typer.echo(f"{PROGRAM} {__version__} ({build_name()})")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and build, and exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show the traceback of an error (or set CONTINUUM_SIM_DEBUG=1).")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 if it worked, 2 with one line on standard error if not, 130 after Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = _DEBUG in given or os.environ.get("CONTINUUM_SIM_DEBUG", "") not in ("", "0")
    given = [argument for argument in given if argument != _DEBUG]  # wherever it stands
    try:
        code = with_plain_help(app)(args=given, prog_name=PROGRAM, standalone_mode=False, obj=[PROGRAM, *given])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (`| head`); leave nothing for Python to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Interrupted as interrupt:
        say_error(interrupt)
        sys.exit(INTERRUPTED)
    except user_errors() as error:
        if debug:
            raise
        say_error(error)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
