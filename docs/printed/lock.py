"""`docs/refreshed.json`: what the shortened commands of the pages printed when these were last refreshed.

A whole run takes too long for a test, so it compares what the shortened one prints with what it printed then.
"""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

from printed.lines import digest
from printed.pages import ROOT, Picture

ONE_AT_A_TIME = threading.Lock()
LOCK = ROOT / "docs" / "refreshed.json"


def read(path: Path = LOCK) -> dict[str, Any]:
    """Return page to command or picture to what it printed; nothing before the first refresh."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def keep(page: str, entries: dict[str, Any], path: Path = LOCK) -> None:
    """Write down what a page's commands print, in order, so that branches can be merged."""
    with ONE_AT_A_TIME:
        kept = {**read(path), page: entries}
        text = json.dumps(
            {name: kept[name] for name in kept if kept[name]}, indent=1, sort_keys=True, ensure_ascii=False
        )
        path.write_text(text + "\n", "utf-8")


def of_picture(picture: Picture, folder: Path) -> str:
    """Say in a few letters what a picture shows: the numbers beside it, to six digits; nothing if there are none."""
    made = folder / picture.made
    table = made.with_suffix(".csv")
    if not table.exists():
        return ""
    return digest(re.sub(r"-?\d+\.\d+(e[+-]?\d+)?", lambda number: f"{float(number[0]):.6g}", table.read_text("utf-8")))
