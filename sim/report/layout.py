"""A view as HTML: one layout for both the page, which has a style sheet, and notebooks, where styles are inline."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from continuum_sim.results.view import View

_COLOURS: Final = {
    "queue": "#e69f00",
    "prefill": "#0072b2",
    "decode": "#009e73",
    "tool": "#9aa1ab",
    "tool wait": "#cc79a7",
    "join": "#d55e00",
    "reload": "#56b4e9",
    "preempted": "#f0e442",
    "retry": "#000000",
}
"""Part of the JCT -> its colour, from Okabe and Ito's colour-blind-safe palette; readable on white and on black."""
_OTHER: Final = "#888888"

_LEFT: Final = "text-align:left;padding:.15em .7em;vertical-align:top"
_RIGHT: Final = "text-align:right;padding:.15em .7em;vertical-align:top;white-space:nowrap"
_INHERITED: Final = "border-collapse:collapse;border:none;color:inherit;font-size:inherit"
_HEAD: Final = ";border-bottom:1px solid;font-weight:600"
_INLINE: Final = {
    "root": "font-size:.9em;font-variant-numeric:tabular-nums;line-height:1.4",
    "title": "font-weight:600;overflow-wrap:anywhere",
    "faint": "opacity:.7;margin:.2em 0",
    "note": "border-left:3px solid #e69f00;margin:.4em 0;padding-left:.6em",
    "scroll": "overflow-x:auto;margin:.5em 0",
    "table": _INHERITED + ";width:auto;margin:0",
    "told": _INHERITED + ";width:100%;max-width:60em;margin:.5em 0",
    "caption": "caption-side:top;text-align:left;font-weight:600;padding:.4em 0 .2em",
    "head-name": _LEFT + _HEAD,
    "head-words": _LEFT + _HEAD,
    "head-label": _RIGHT + _HEAD,
    "head-number": _RIGHT + _HEAD,
    "name": _LEFT + ";font-weight:inherit;white-space:nowrap",
    "words": _LEFT + ";white-space:normal;overflow-wrap:anywhere",
    "label": _RIGHT,
    "number": _RIGHT,
    "fact": _LEFT + ";font-weight:400;opacity:.7;white-space:nowrap",
    "best": "font-weight:600",
    "good": "color:#2a9d6a",
    "bad": "color:#e0524d",
    "split": "display:flex;height:1.2em",
    "part": "min-width:1px",
    "legend": "",
    "entry": "white-space:nowrap;margin-right:.8em",
    "swatch": "display:inline-block;width:.8em;height:.8em;margin-right:.3em",
}
"""Inline style of each kind of element in a notebook, which supplies text and background colours, light or dark."""


class _Look(Protocol):
    def __call__(self, kind: str, *, width: float | None = None, colour: str = "") -> Markup: ...


def fragment(view: View) -> str:
    """Return a view as an HTML fragment that needs no style sheet, for notebooks."""
    html: str = environment(_inline).get_template("fragment.html.j2").render(view=view)
    return html


def inline_html(part: Literal["blocks", "notes"], view: View) -> str:
    """Return a part of a view with inline styles, for a page whose style sheet does not cover views."""
    html: str = getattr(environment(_inline).get_template("view.html.j2").module, part)(view)
    return html


@cache
def environment(look: _Look) -> Environment:
    """Return the template environment: text is escaped, and an undefined name is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, loader=FunctionLoader(asset))
    made.globals["look"] = look
    return made


def asset(name: str) -> str:
    """Return the text of one of the page's assets."""
    return (files("continuum_sim.report") / "assets" / name).read_text(encoding="utf-8")


def by_class(kind: str, *, width: float | None = None, colour: str = "") -> Markup:
    """Leave the look to the style sheet, except for widths and the choice of one of its colours."""
    variable = f"var(--{colour.replace(' ', '-')}, {_OTHER})" if colour else ""
    return _attributes(**{"class": kind}, style=_drawn("", width, variable))


def _inline(kind: str, *, width: float | None = None, colour: str = "") -> Markup:
    return _attributes(style=_drawn(_INLINE[kind], width, _COLOURS.get(colour, _OTHER) if colour else ""))


def _drawn(style: str, width: float | None, colour: str) -> str:
    drawn = [style] if style else []
    if width is not None:
        drawn.append(f"width:{100 * width:.4f}%")
    if colour:
        drawn.append(f"background:{colour}")
    return ";".join(drawn)


def _attributes(**named: Any) -> Markup:
    from markupsafe import Markup

    return Markup("").join(Markup(' {}="{}"').format(name, value) for name, value in named.items() if value)
