"""The command line: a thin layer over the library."""

from continuum_sim.cli.app import main

__all__ = ["main"]
