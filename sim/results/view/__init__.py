"""A result as rows of text, made once: terminal, page and notebook lay out the same rows."""

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
