"""The style of pictures: a colour-blind-safe palette, column width, and the same bytes each time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from continuum_sim.plotting.names import texts_as_they_are

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008), a colour-blind-safe palette, without its yellow, too pale for lines.
BLACK: Final = "#000000"
ORANGE: Final = "#e69f00"
SKY: Final = "#56b4e9"
GREEN: Final = "#009e73"
BLUE: Final = "#0072b2"
RED: Final = "#d55e00"
PURPLE: Final = "#cc79a7"
GREY: Final = "#999999"
DARK_GREY: Final = "#595959"
"""Colour of text: contrast 7 to 1 against white, as WCAG 2 AAA requires."""

COLUMN_IN: Final = 3.35
"""Width of a column of a two-column page (ACM 3.33, IEEE 3.5, USENIX 3.33 inches)."""
BAND_ALPHA: Final = 0.18

_RC: Final[dict[str, Any]] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "savefig.dpi": 180,
    "pdf.fonttype": 42,  # TrueType: text stays text, as publishers ask
    "svg.hashsalt": "continuum-sim",
}

# Without time and version, so that the same data give the same bytes.
_METADATA: Final[dict[str, dict[str, Any]]] = {
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
}
FORMATS: Final = tuple(_METADATA)


class Look(NamedTuple):
    """The look of a line or a bar."""

    colour: str
    line: str
    marker: str


_KNOWN: Final = {
    "fcfs": Look(GREY, "-", "s"),
    "lru": Look(BLACK, "-", "o"),
    "program-fifo": Look(SKY, "-", "^"),
    "ttl-static": Look(ORANGE, "-", "D"),
    "ttl": Look(GREEN, "-", "v"),
}
"""Common policies, which look the same in all figures."""
_COLOURS: Final = (RED, BLUE, PURPLE, GREEN, ORANGE, SKY, BLACK, GREY)
_MARKERS: Final = ("P", "X", "p", "<", ">", "h", "*", "d")
_LINES: Final = ("-", "--", ":", "-.")


def looks(policies: Sequence[str]) -> dict[str, Look]:
    """Assign each policy its own look: fixed ones for common policies, then the next colours, then dashes."""
    found = {policy: _KNOWN[policy] for policy in policies if policy in _KNOWN}
    taken = {look.colour for look in found.values()}
    colours = [colour for colour in _COLOURS if colour not in taken]
    fresh = [Look(colour, "-", _MARKERS[at]) for at, colour in enumerate(colours)]
    dashed = [
        Look(colour, line, _MARKERS[at % len(_MARKERS)]) for line in _LINES[1:] for at, colour in enumerate(_COLOURS)
    ]
    others = [policy for policy in policies if policy not in _KNOWN]
    supply = [*fresh, *dashed]
    found.update({policy: supply[at % len(supply)] for at, policy in enumerate(others)})
    return {policy: found[policy] for policy in policies}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this style, whatever the user's matplotlib settings are."""
    import matplotlib as mpl

    ours: Any = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")} | _RC
    with mpl.rc_context(ours), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is drawn; users cannot fix it
        yield


def new_figure(width_in: float = COLUMN_IN, height_in: float = 2.4) -> Figure:
    """Return an empty figure that draws into memory, and that a notebook shows if it is the last line of a cell.

    Matplotlib leaves both to pyplot, whose global state this package avoids.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _figure_class()(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@cache
def _figure_class() -> type[Figure]:
    """Return the figure class, derived on first use: the palette must be importable without matplotlib."""
    from matplotlib.figure import Figure

    class PrintFigure(Figure):
        def draw(self, renderer: Any) -> None:
            texts_as_they_are(self)
            super().draw(renderer)

        def _repr_png_(self) -> bytes:
            return picture_bytes(self, "png")

    return PrintFigure


def picture_bytes(figure: Figure, kind: str, **settings: Any) -> bytes:
    """Render a figure as `pdf`, `png` or `svg`; the same figure gives the same bytes."""
    file = BytesIO()
    figure.savefig(file, format=kind, metadata=_METADATA[kind], **settings)
    return file.getvalue()
