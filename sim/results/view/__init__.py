"""A result as rows of text, said once: terminal, page and notebook lay the same rows out.

Begin with `parts.py`, what a view is made of, and `run.py`, the rows of one run. A number that people are to see is
added here and nowhere else; nothing in this folder knows about colours, HTML or the width of a terminal.
"""

from continuum_sim.results.view.parts import (
    Bar,
    Block,
    Column,
    Fact,
    Facts,
    Marked,
    Note,
    Part,
    Table,
    Tone,
    View,
    joined,
    label,
    name,
    numbers,
    words,
)
from continuum_sim.results.view.shown import Shown

__all__ = [
    "Bar",
    "Block",
    "Column",
    "Fact",
    "Facts",
    "Marked",
    "Note",
    "Part",
    "Shown",
    "Table",
    "Tone",
    "View",
    "joined",
    "label",
    "name",
    "numbers",
    "words",
]
