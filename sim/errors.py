"""Errors that a user can fix; the command line prints their text and exits with code 2."""

from continuum_sim.names import shown

__all__ = ["ConfigError", "SimulationError", "shown"]


class ConfigError(ValueError):
    """A setting or a combination of settings that cannot work; the message is one line."""


class SimulationError(RuntimeError):
    """The simulated engine is stuck with unfinished work; the message names the policy that holds it back."""
