"""A validation's report as a single HTML file, including its figures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from continuum_sim.report.layout import inline_html
from continuum_sim.validate.judge.assess import ValidationReport

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:1.8em}
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}th{border-bottom:2px solid #888}
.verdict{padding:.6em 1em;border-radius:4px;font-weight:600}
.passed{background:#e3f3e6}.failed{background:#fbe4e1}
.note,figcaption{color:#555;font-size:.9em}figure{margin:1em 0}img{max-width:100%}
dl{display:grid;grid-template-columns:max-content auto;gap:.1em 1em}dt{color:#555}dd{margin:0;word-break:break-word}
"""

_CAPTIONS: Final = {
    "jct": "Job completion times, simulated before the runs and measured.",
    "programs": "Every program: simulated against measured (mean and range of the repeats). On the line: as predicted.",
    "distribution": "Distribution of job completion times over programs.",
    "error_split": "Where the error of the mean comes from.",
    "steps": "Pace of the engine during the runs: 1 is as fast as when it was calibrated.",
}


def report_page(
    report: ValidationReport, manifest: Mapping[str, Any], facts: Mapping[str, Any], pictures: Mapping[str, bytes]
) -> str:
    """Return the page."""
    view = report.view()
    kind = "passed" if report.passed else "failed"
    parts = [
        f"<h1>{escape(view.title)}</h1>",
        f'<p class="verdict {kind}">{escape(view.verdict or "")}</p>',
        inline_html("notes", view),
        _picture("jct", pictures),
        inline_html("blocks", view),
        *(_picture(name, pictures) for name in _CAPTIONS if name != "jct"),
        "<h2>What was run</h2>",
        _list({**manifest, **{f"engine: {name}": value for name, value in facts.items()}}),
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Validation</title><style>{_STYLE}</style>'
    return f"{head}\n<body>\n" + "\n".join(filter(None, parts)) + "\n</body></html>\n"


def _picture(name: str, pictures: Mapping[str, bytes]) -> str:
    if name not in pictures:
        return ""
    data = b64encode(pictures[name]).decode()
    caption = escape(_CAPTIONS[name])
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _list(values: Mapping[str, Any]) -> str:
    items = (f"<dt>{escape(name)}</dt><dd>{escape(_shown(value))}</dd>" for name, value in values.items())
    return f"<dl>{''.join(items)}</dl>"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
