"""Print again what README.md, the pages of docs/ and the notebooks show, and draw their pictures.

python docs/refresh.py                         # everything
python docs/refresh.py findings.md readme.png  # a page; the page of a picture
python docs/refresh.py notebooks               # all of them; 01_first_run is one
python docs/refresh.py --check                 # what is stale, from shortened runs, as CI does
python docs/refresh.py --lock                  # the pages are right: write down only what shortened runs print

Commands run as the page shows them, in one folder a page; `docs/printed/pages.py` has the comments that say otherwise.
Exit code 1 if somebody has to look at something.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

from printed import lock, notebooks  # noqa: E402
from printed.pages import PAGES, Picture, pictures  # noqa: E402
from printed.visit import Visit, refresh, relock, stale  # noqa: E402

AT_ONCE = 2
LONGEST_FIRST = ("README.md", "paper.md", "figures.md", "sweeps.md", "capacity.md", "findings.md")


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Pages, pictures, notebooks; all of them if none.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what is stale, from shortened runs.")] = False,
    lock_only: Annotated[bool, typer.Option("--lock", help="Only write the lock, from shortened runs.")] = False,
) -> None:
    """Refresh these, two at a time, and say what changed."""
    pages, books = chosen(names or [*PAGES, "notebooks"])
    before = lock.read()

    def visit(page: str) -> Visit:
        with tempfile.TemporaryDirectory() as folder:
            begun, path = time.monotonic(), PAGES[page]
            if check:
                found = Visit(page, wrong=stale(path, Path(folder), before.get(page, {})))
            elif lock_only:
                drawn = {picture.file.name for picture in pictures(path) if isinstance(picture, Picture)}
                kept = {name: dict(entry) for name, entry in before.get(page, {}).items() if name in drawn}
                found = Visit(page, locked=kept)
                relock(path, Path(folder), found)
            else:
                found = refresh(path, Path(folder), before.get(page, {}))
            if not check:
                lock.keep(page, found.locked)
            said = f"{page}: {len(found.wrong)} to look at" if check or lock_only else str(found)
            print(f"{said}; {time.monotonic() - begun:.0f} s", flush=True)
            return found

    def execute(book: str) -> list[tuple[str, str]]:
        numbers: list[tuple[str, str]] = []
        with tempfile.TemporaryDirectory() as folder:
            print(
                notebooks.refresh(notebooks.NOTEBOOKS[book], Path(folder), lambda *pair: numbers.append(pair)),
                flush=True,
            )
        return numbers

    with ThreadPoolExecutor(AT_ONCE) as pool:
        visits = pool.map(visit, sorted(pages, key=lambda page: (page not in LONGEST_FIRST, page)))
        executions = pool.map(execute, () if check or lock_only else books)
        found, of_books = list(visits), dict(zip(books, executions, strict=False))
    for of in found:
        report(of.page, [f":{line}: {old} -> {new}" for line, old, new in of.numbers])
        for name in of.redrawn:
            print(f"  drawn again: {name}")
    for book, pairs in of_books.items():
        report(book, [f": {old} -> {new}" for old, new in pairs])
    wrong = [line for of in found for line in of.wrong]
    print("".join(f"\n{line}" for line in wrong))
    sys.exit(bool(wrong))


def chosen(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the pages and the notebooks that are meant."""
    of_pictures = {p.file.name: name for name, page in PAGES.items() for p in pictures(page) if isinstance(p, Picture)}
    pages: list[str] = []
    books: list[str] = []
    for name in names:
        short = name.removeprefix("docs/").removeprefix("img/").removeprefix("notebooks/")
        if short == "notebooks" or name == "notebooks":
            books += notebooks.NOTEBOOKS
        elif short.removesuffix(".ipynb") in notebooks.NOTEBOOKS:
            books.append(short.removesuffix(".ipynb"))
        elif (page := of_pictures.get(short, short)) in PAGES:
            pages.append(page)
        else:
            raise typer.BadParameter(f"{name!r} is no page, notebook or picture made here", param_hint="NAMES")
    return list(dict.fromkeys(pages)), list(dict.fromkeys(books))


def report(name: str, lines: Sequence[str]) -> None:
    """Print what changed on a page."""
    if lines:
        print(f"\n{name}", *(f"  {name}{line}" for line in lines), sep="\n")


if __name__ == "__main__":
    typer.run(main)
