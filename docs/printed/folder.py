"""A folder in which the commands of a page run as a reader's shell would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from printed.pages import ROOT, Command

CHANGES_WHAT_IS_PRINTED = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "PYTHONPATH")


def run(command: Command | str, folder: Path, limit_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run it as a shell does in which the virtual environment of this Python is active."""
    environment = {name: value for name, value in os.environ.items() if name not in CHANGES_WHAT_IS_PRINTED}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["bash", "-c", command if isinstance(command, str) else command.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


def prepare(page: str, folder: Path) -> Path:
    """Put there what the page speaks of and cannot bring along: the scripts of a checkout, logs to import."""
    (folder / ".venv").mkdir(parents=True)
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    (folder / "docs" / "img").mkdir(parents=True)
    for script in (ROOT / "docs").glob("*.py"):
        (folder / "docs" / script.name).symlink_to(script)
    if page in FILES:
        FILES[page](folder)
    return folder


def _logs(folder: Path) -> None:
    from support.agent_logs import claude_code

    (folder / "my-project").mkdir()
    (folder / "my-project" / "s-1.jsonl").write_bytes(claude_code())
    good = '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}\n'
    (folder / "mooncake").mkdir()
    (folder / "mooncake" / "m.jsonl").write_text(4 * good + good.replace("600", "0"))
    (folder / "aiperf").mkdir()
    (folder / "aiperf" / "c.jsonl").write_text(
        '{"session_id": "s", "turns": [{"text": "hello", "delay": 0, "output_length": 5}]}\n'
    )


FILES: dict[str, Callable[[Path], None]] = {"import.md": _logs}
