"""What the documentation site needs beyond MkDocs: pages for linked source files, and a package for the reference.

Pages in `docs/` link to files of the repository as GitHub does (`../sim/errors.py`). A site has no such files, so
every file that is linked gets a page of its own under `source/`, and the links lead there.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(?P<target>(?:\.\./)+[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")
"""The target of a Markdown link that goes up at least one folder."""
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "bash", ".sbatch": "bash", ".md": "markdown", ".json": "json"}


@event_priority(100)  # before mkdocstrings reads its configuration
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let the reference find the package, whose folders are joined only when it is installed (see pyproject.toml)."""
    handlers: dict[str, Any] = config.plugins["mkdocstrings"].config["handlers"]
    handlers.setdefault("python", {})["paths"] = [str(_package_tree())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file of the repository that a page links to."""
    for page in list(files.documentation_pages()):
        for path in _linked(page.content_string, page.src_uri):
            uri = _page_of(path)
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, content=_source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files of the repository to their pages."""
    here = page.file.src_uri

    def lead(match: re.Match[str]) -> str:
        path = _outside(match["target"], here)
        if path is None:
            return match[0]
        return os.path.relpath(_page_of(path), PurePosixPath(here).parent)

    return markdown if here.startswith("source/") else LINK.sub(lead, markdown)


def _linked(markdown: str, here: str) -> Iterator[PurePosixPath]:
    for match in LINK.finditer(markdown):
        path = _outside(match["target"], here)
        if path is not None:
            yield path


def _outside(target: str, here: str) -> PurePosixPath | None:
    """The linked file, from the root of the repository; None if it is in `docs/` or missing, which MkDocs reports."""
    path = PurePosixPath(os.path.normpath(PurePosixPath("docs", here).parent / target))
    if path.parts[0] in ("docs", "..") or not (ROOT / path).exists():
        return None
    return path


def _page_of(path: PurePosixPath) -> str:
    return f"source/{path}.md"


def _source_page(path: PurePosixPath) -> str:
    """A file as a code block, a folder as a list of what is in it."""
    full = ROOT / path
    if full.is_dir():
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in full.iterdir())
        body = "\n".join(f"* `{name}`" for name in names if not name.startswith((".", "__")))
    else:
        fence = "`" * 8
        body = f"{fence} {LANGUAGES.get(path.suffix, 'text')}\n{full.read_text(encoding='utf-8')}\n{fence}"
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n{body}\n"


def _package_tree() -> Path:
    """Return a folder in which `continuum_sim` lies as it is imported: links to the folders pyproject.toml maps."""
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-dir"]
    tree = Path(tempfile.mkdtemp(prefix="continuum-sim-docs-"))
    atexit.register(shutil.rmtree, tree, ignore_errors=True)  # removes the links, not what they lead to
    for name, folder in sorted(folders.items()):
        package = tree.joinpath(*name.split("."))
        package.mkdir(parents=True)
        for entry in (ROOT / folder).iterdir():
            if entry.name != "__pycache__":
                (package / entry.name).symlink_to(entry)
    return tree
