"""Notebooks, executed: the same results give the same bytes, but for wall times, for which none is written again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed.lines import changed_numbers, digest, masked
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
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(copy)}}).execute()
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
                    output["data"][kind] = _plain(text, kind, names)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _plain(text: Any, kind: str, names: dict[str, str]) -> Any:
    """Leave out of a picture when it was drawn, its line ends, and digits that nobody sees; then name its parts."""
    if kind == "image/svg+xml":
        text = re.sub(r"\s*<metadata>.*?</metadata>", "", "".join(text), flags=re.DOTALL)
        text = re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", " ".join(text.split()))
        return _named(text, names)
    if isinstance(text, list):
        return _plain("".join(text), kind, names).splitlines(keepends=True)
    if not isinstance(text, str) or kind == "image/png":
        return text
    return _named(text, names)


def _named(text: str, names: dict[str, str]) -> str:
    """Count parts that have random names, and leave out where an object was."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return RANDOM_NAMES.sub(lambda name: names.setdefault(name[0], f"n{len(names)}"), text)


def differences(old: str, new: str) -> list[tuple[str, str]]:
    """Return lines and pictures of the outputs that changed but for wall times; one pair if there are more or fewer."""
    before, after = shown(old), shown(new)
    if len(before) != len(after):
        return [(f"{len(before)} lines and pictures", f"{len(after)} lines and pictures")]
    return [pair for pair in zip(before, after, strict=True) if masked(pair[0]) != masked(pair[1])]


def shown(notebook: str, pictures: bool = True) -> list[str]:
    """Return the lines that a notebook's outputs show, and a line for each picture."""
    found: list[str] = []
    for cell in json.loads(notebook)["cells"]:
        for output in cell.get("outputs", []):
            for kind, data in [("text", output.get("text", "")), *sorted(output.get("data", {}).items())]:
                text = "".join(data) if isinstance(data, list) else data if isinstance(data, str) else json.dumps(data)
                if kind.startswith("image/"):
                    found += [f"picture {digest(text)}"] * pictures
                else:
                    found += re.sub(r"<style.*?</style>|<[^>]+>", "\n", text, flags=re.DOTALL).split("\n")
    return [line for line in found if line.strip()]


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
