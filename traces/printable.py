"""Names from files as text that a screen, a log or a picture can show."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text on one line, every character that is not printable as its escape: ``\x1b``, ``\n``, ``\u202e``.

    Not printable are control and format characters (terminal escapes, changes of the direction of writing), line
    separators, blanks other than the space, and lone surrogates, as in file names that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
