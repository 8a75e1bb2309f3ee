"""Errors for what a configuration says that is not known here, and for what it does not say."""

from continuum_sim.errors import ConfigError


class Unread(Exception):
    """The weights or caches of a configuration are unknown; the message names the file and the reason.

    It is not an error yet: a run with measured step times and a given number of KV blocks needs neither.
    """


class MissingField(ConfigError):
    """A field that neither the file nor the class has; an error only where it is needed."""
