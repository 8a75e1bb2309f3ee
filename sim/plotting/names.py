"""Names from users' files in pictures: shown literally, never as mathtext formulas, and wrapped if long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from continuum_sim.traces.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LINES: Final = 3


def label(name: str, letters: int = 40) -> str:
    """Return a name for a legend or a title: wrapped to at most three lines, with its middle cut out beyond that."""
    text = printable(name)
    most = _MOST_LINES * letters
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"
    folded = "\n".join(text[at : at + letters] for at in range(0, len(text), letters))
    return f" {folded}" if folded.startswith("_") else folded  # matplotlib leaves `_name` out of legends


def texts_as_they_are(figure: Figure) -> None:
    """Show `$` and control characters in the texts of a figure literally instead of interpreting them.

    Powers of ten at logarithmic axes stay formulas, since matplotlib writes these itself.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    own = {
        text
        for panel in figure.axes
        for axis in (panel.xaxis, panel.yaxis)
        if isinstance(axis.get_major_formatter(), LogFormatter)
        for text in (*axis.get_majorticklabels(), *axis.get_minorticklabels())
    }
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in own:
            text.set_parse_math(False)
            said = text.get_text()
            if not said.isprintable():
                text.set_text("\n".join(map(printable, said.split("\n"))))
