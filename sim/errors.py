"""Errors a user can mend; the command line prints their text and exits with code 2."""

from continuum_sim.names import shown

__all__ = ["ConfigError", "SimulationError", "shown"]


class ConfigError(ValueError):
    """A setting or a combination of settings that cannot work; the text is one clear line."""


class SimulationError(RuntimeError):
    """The simulated engine stands still with work left; says which policy holds it back."""
