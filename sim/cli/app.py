"""The commands, and the one place that turns errors into a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from continuum_sim import interrupts
from continuum_sim.cli.capacity import capacity
from continuum_sim.cli.compare import compare
from continuum_sim.cli.diff import diff
from continuum_sim.cli.errors import Interrupted, interruptible, say_error, user_errors
from continuum_sim.cli.figures import figures
from continuum_sim.cli.hardware import hardware
from continuum_sim.cli.help import with_plain_help
from continuum_sim.cli.policies import policies
from continuum_sim.cli.report import report
from continuum_sim.cli.run import run
from continuum_sim.cli.scenarios import scenarios
from continuum_sim.cli.signals import exit_code
from continuum_sim.cli.streams import drop_output, output_error, prepare_streams
from continuum_sim.cli.sweep import sweep
from continuum_sim.cli.timeline import timeline
from continuum_sim.cli.trace import trace

PROGRAM: Final = "continuum-sim"
_DEBUG: Final = "--debug"


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a command, and handle Ctrl-C before Click does, which would not say what was done."""
        with interruptible("interrupted"):
            return super().invoke(ctx)


app = typer.Typer(
    name=PROGRAM,
    cls=_Commands,
    help="Simulate LLM agents on a vLLM engine, under any scheduling and KV-retention policy.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(compare)
app.command()(capacity)
app.command()(diff)
app.command()(report)
app.add_typer(sweep, name="sweep")
app.command()(timeline)
app.command()(figures)
app.command()(policies)
app.command()(scenarios)
app.command()(hardware)
app.add_typer(trace, name="trace")


def _add_commands_of_others() -> None:
    """Add the commands of packages that build on this one (`parity`, third parties'), found by entry point.

    So the simulator does not depend on them. Their modules must be cheap to import; one that fails to import prints a
    warning and leaves the rest working.
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
        from continuum_sim.vllm_defaults import MIRRORED_VLLM

        typer.echo(f"{PROGRAM} {__version__} ({build_name()}), mirrors vLLM {MIRRORED_VLLM}")
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


def run_command(arguments: Sequence[str]) -> None:
    """Run one command and exit; see `main`."""
    debug = _DEBUG in arguments or os.environ.get("CONTINUUM_SIM_DEBUG", "") not in ("", "0")
    given = [argument for argument in arguments if argument != _DEBUG]  # allowed in any position
    prepare_streams()
    try:
        with interruptible("interrupted"):
            command = with_plain_help(app, given[0] if given else None)
            code = command(args=given, prog_name=PROGRAM, standalone_mode=False, obj=[PROGRAM, *given])
            sys.stdout.flush()
        if interrupts.noted():
            raise Interrupted("interrupted when the command had done its work")
    except BrokenPipeError as error:
        from continuum_sim.traces.files import is_stdout

        if error.filename and not is_stdout(error.filename):
            say_error(error)
            sys.exit(2)
        # The reader has closed the pipe (`| head`); leave nothing for Python to flush at exit.
        drop_output()
        sys.exit(1)
    except Interrupted as interrupt:
        with interrupts.held_back():
            say_error(interrupt)
        sys.exit(exit_code())
    except user_errors() as error:
        if debug:
            raise
        say_error(output_error(error) if isinstance(error, OSError) else error, given)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
