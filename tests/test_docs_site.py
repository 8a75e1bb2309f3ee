"""The documentation site builds without a warning: no page outside the navigation, no broken link or anchor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the documentation site needs the extra 'docs'")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    engine = (tmp_path / "site" / "engine" / "index.html").read_text("utf-8")
    assert "../source/sim/engine/scheduler.py/" in engine, "a link to a source file leads to a page of the site"
    source = (tmp_path / "site" / "source" / "sim" / "engine" / "scheduler.py" / "index.html").read_text("utf-8")
    assert "class" in source
    assert "Scheduler" in source
    api = (tmp_path / "site" / "reference" / "api" / "index.html").read_text("utf-8")
    assert "gpu_memory_utilization" in api, "the reference is made of docstrings"
    assert "setting(" not in api, "a setting has its default, not the call that declares it"
