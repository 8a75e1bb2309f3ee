"""The command line: a thin layer over the library."""

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
