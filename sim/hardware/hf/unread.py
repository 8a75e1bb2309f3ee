"""What a configuration says that is not known here."""


class Unread(Exception):
    """The weights or caches of a configuration cannot be told; its text names the file and the reason.

    It is no error yet: a run with measured step times and a given number of KV blocks needs neither.
    """
