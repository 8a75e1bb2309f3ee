"""Make names from files safe to show on a screen, in a log or in a figure."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text on one line, with every unprintable character escaped: ``\x1b``, ``\n``, ``\u202e``.

    Unprintable are control and format characters (terminal escapes, bidirectional overrides), line separators, blanks
    other than the space, and lone surrogates, which occur in file names that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
