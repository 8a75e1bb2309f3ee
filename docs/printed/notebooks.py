"""Notebooks, executed: the same results give the same bytes, but for wall times, for which none is written again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed.lines import changed_numbers, masked
from printed.pages import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
LARGEST_BYTES = 300_000
RANDOM_NAMES = re.compile(r"\b(?:T_[0-9a-f]{5}|[a-z]{1,2}[0-9a-f]{10})(?=\b|_)")
"""Of a styled table, of the parts of an SVG."""


def executed(path: Path, folder: Path) -> str:
    """Return the notebook as it is after its cells ran in order, in a copy of the notebooks' folder."""
    import nbclient
    import nbformat

    copy = folder / FOLDER.name
    shutil.copytree(path.parent, copy)
    notebook = nbformat.read(copy / path.name, as_version=4)  # type: ignore[no-untyped-call]
    kept = notebook.metadata
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(copy)}}).execute()
    notebook.metadata = kept
    return plain(json.loads(nbformat.writes(notebook)))  # type: ignore[no-untyped-call]


def plain(notebook: dict[str, Any]) -> str:
    """Return its text without what differs between two runs and nobody reads."""
    notebook["metadata"].get("language_info", {}).pop("version", None)
    names: dict[str, str] = {}
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
        if cell["cell_type"] == "code":
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
            for output in cell["outputs"]:
                for kind, text in output.get("data", {}).items():
                    output["data"][kind] = _renamed(text, names)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _renamed(text: Any, names: dict[str, str]) -> Any:
    """Count parts of a page that have random names, and leave out when a picture was drawn."""
    if isinstance(text, list):
        joined = _renamed("".join(text), names)
        return joined.splitlines(keepends=True)
    if not isinstance(text, str):
        return text
    text = re.sub(r" *<metadata>.*?</metadata>\n?", "", text, flags=re.DOTALL)
    return RANDOM_NAMES.sub(lambda name: names.setdefault(name[0], f"n{len(names)}"), text)


def differences(old: str, new: str) -> list[tuple[str, str]]:
    """Return lines of outputs that changed but for wall times; all of a notebook that has had none."""
    before, after = _lines(old), _lines(new)
    if len(before) != len(after):
        return [(f"{len(before)} lines of output", f"{len(after)} lines")]
    return [pair for pair in zip(before, after, strict=True) if masked(pair[0]) != masked(pair[1])]


def _lines(notebook: str) -> list[str]:
    found: list[str] = []
    for cell in json.loads(notebook)["cells"]:
        for output in cell.get("outputs", []):
            for kind, text in [("text", output.get("text", "")), *sorted(output.get("data", {}).items())]:
                if kind != "image/png":
                    found += _joined(text).splitlines()
    return found


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else text if isinstance(text, str) else json.dumps(text)


def refresh(path: Path, folder: Path, numbers: Callable[[str, str], None]) -> str:
    """Execute a notebook and write it again if its outputs changed; return a line that says what came of it."""
    old, new = path.read_text("utf-8"), executed(path, folder)
    changed = differences(old, new)
    if changed:
        path.write_text(new, "utf-8")
    pairs = [pair for line in changed for pair in changed_numbers(*line)]
    for pair in pairs:
        numbers(*pair)
    return f"{path.name}: {len(changed)} lines of output changed ({len(pairs)} numbers), {len(new) / 1000:,.0f} kB"
