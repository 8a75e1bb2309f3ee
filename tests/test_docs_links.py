"""Links between pages lead somewhere, on GitHub as in the site, and the reference leaves no public name out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import continuum_sim as cs

ROOT = Path(__file__).parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *(ROOT / "docs").rglob("*.md")]


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^( *)(`{3,}|~{3,}).*?^\1\2", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", lambda code: re.sub(r"[\[\]()]", "", code[0]), text)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        again = 0
        while (name := slug if not again else f"{slug}-{again}") in found:
            again += 1
        found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_check_sees_anchors_and_skips_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `summary.json`\n\n```text\n# no heading [x](no.md)\n```\n## A [b](c.md) – d, e?\n## One\n## One\n"
    )
    assert anchors(page) == {"one-summaryjson", "a-b--d-e", "one", "one-1"}


def test_the_reference_leaves_no_public_name_out() -> None:
    reference = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    whole = {module.rpartition(".")[2] for module in re.findall(r"^::: (\S+)$", reference, flags=re.MULTILINE)}
    missing = []
    for name in set(cs.__all__) - {"__version__"}:
        home = getattr(cs, name).__module__.rpartition(".")[2]
        if name not in whole and home not in whole:
            missing.append(name)
    assert missing == []
