"""The command line, a thin layer over the library: one file for each command, and what commands share.

Begin with `app.py`, which lists the commands and turns errors into one line and an exit code; `run.py` is a typical
command. Flags that are settings follow from `RunConfig` and are not written here. Imports at the top of these files
are paid at every start, `--help` included, so heavy libraries are imported inside functions.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from continuum_sim import interrupts
from continuum_sim.cli.signals import exit_code, stop_signals

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 on success, 2 with one line on standard error on failure, 130 after Ctrl-C."""
    with stop_signals(then_exit=arguments is None):
        try:
            from continuum_sim.cli.app import run_command  # inside the try: Ctrl-C may come while this imports
        except BaseException:
            if interrupts.noted() is None:
                raise
            print("error: interrupted", file=sys.stderr)
            sys.exit(exit_code())
        run_command(sys.argv[1:] if arguments is None else arguments)
