"""The files that one turn crosses, in order: the middle turn of a program that has the engine to itself.

python benchmarks/one_turn.py --policy ttl --dram-gb 16

A file is crossed if a function in it is called, or a generator resumed, after the program places the turn and before
its record is taken. Null objects count. Calls without a Python frame, such as a named tuple's constructor, do not.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from harness import table

import continuum_sim as cs
from continuum_sim.build import build_name
from continuum_sim.results.recorder import RunRecorder
from continuum_sim.world.cluster import Stay

PACKAGE = Path(cs.__file__).parent
HEART = ("engine", "policies/host")
Crossed = dict[str, Counter[str]]
"""File -> function -> calls, in order of the first call in each file."""


def crossings(**settings: Any) -> tuple[Crossed, Crossed, Crossed]:
    """Return the files crossed before a program's first turn, by its middle turn, and after its last turn."""
    if build_name() == "compiled":
        raise SystemExit("error: calls of compiled modules have no Python frames, expected an editable installation")
    settings = {"policy": "lru", "timeline": False, **settings, "programs": 1}
    turns = cs.run(**settings).summary.turns  # this run also does the imports
    before, during, after = legs = Crossed(), Crossed(), Crossed()
    leg: Crossed | None = before

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal leg
        code = frame.f_code
        if event == "call":
            if code is Stay.place.__code__:
                leg = during if frame.f_locals["index"] == turns // 2 else None
            if leg is not None and code.co_filename.startswith(f"{PACKAGE}/"):
                leg.setdefault(in_repository(Path(code.co_filename)), Counter())[code.co_qualname] += 1
        elif event == "return" and code is RunRecorder.turn.__code__:
            leg = after if frame.f_locals["record"].turn == turns - 1 else None

    sys.setprofile(watch)
    try:
        cs.run(**settings)
    finally:
        sys.setprofile(None)
    return legs


def in_repository(path: Path) -> str:
    """Return where a file of the package lies in the repository, whose top folders are mapped to one package."""
    inside = path.relative_to(PACKAGE)
    return str(inside if inside.parts[0] in ("policies", "traces", "validate") else Path("sim", inside))


def main(policy: str = "lru", dram_gb: float = 0.0, heart: bool = False) -> None:
    """Trace a turn of the bundled SWE-bench trace; with --heart, count the lines of the files that decide each step."""
    if heart:
        files = [path for folder in HEART for path in (PACKAGE / folder).rglob("*.py")]
        sizes = [(len(path.read_text("utf-8").splitlines()), in_repository(path)) for path in files]
        print(table(("lines", "file"), sorted(sizes, reverse=True)))
        return
    _, crossed, _ = crossings(policy=policy, dram_gb=dram_gb)
    rows = [(file, next(iter(calls)), calls.total()) for file, calls in crossed.items()]
    print(table(("file", "entered at", "calls"), rows))
    print(f"\n{len(rows)} files, {sum(row[2] for row in rows)} calls")


if __name__ == "__main__":
    typer.run(main)
