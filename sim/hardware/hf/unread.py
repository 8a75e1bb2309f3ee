"""What a configuration says that is not known here, and what it does not say."""

from continuum_sim.errors import ConfigError


class Unread(Exception):
    """The weights or caches of a configuration cannot be told; its text names the file and the reason.

    It is no error yet: a run with measured step times and a given number of KV blocks needs neither.
    """


class MissingField(ConfigError):
    """A field that neither the file nor the class has. An error for whoever needs it."""
