"""The report as a single HTML file, including its figures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

from continuum_sim.report.layout import inline_html
from continuum_sim.validate.recorded.report import BacktestReport

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}.verdict{padding:.6em 1em;font-weight:600}
.passed{background:#e3f3e6}.failed{background:#fbe4e1}.note{color:#555;font-size:.9em}img{max-width:100%}
"""


def make_page(report: BacktestReport, pictures: Iterable[Path]) -> str:
    """Return the page."""
    view = report.view()
    kind = "passed" if report.passed else "failed"
    parts = [
        f"<h1>{escape(view.title)}</h1>",
        f'<p class="verdict {kind}">{escape(view.verdict or "")}</p>',
        inline_html("notes", view),
        inline_html("blocks", view),
        *map(_picture, pictures),
        "<h2>What was compared</h2>",
        *(f"<p>{escape(line)}</p>" for line in view.setting),
        f'<p class="note">sha256 of the log {report.source.sha256}</p>',
    ]
    title = escape(view.title)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f"{head}\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"


def _picture(path: Path) -> str:
    data = b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{escape(path.stem)}" src="data:image/png;base64,{data}"></p>'
