"""Standard output that is closed, full or ASCII only: no traceback, and no results lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = [sys.executable, "-m", "continuum_sim", "run", "--limit", "2", "--max-turns", "3"]


def _shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command, "bash", *RUN],
        capture_output=True,
        encoding="latin-1" if environment.get("PYTHONIOENCODING") == "latin-1" else "utf-8",
        check=False,
        env={**os.environ, **environment},
    )


def test_closed_output_loses_nothing_but_what_is_printed(tmp_path: Path) -> None:
    done = _shell(f'"$@" --out {tmp_path}/r --force >&-')
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr
    json.loads((tmp_path / "r" / "summary.json").read_text())
    # No output went into a file that was opened under the closed descriptor.
    assert {path.name for path in (tmp_path / "r").iterdir()} >= {"manifest.json", "turns.parquet"}
    assert _shell('"$@" >&- 2>&- <&-').returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("more", ["", " --json"])
def test_full_output_is_one_line(more: str) -> None:
    done = _shell(f'"$@"{more} >/dev/full')
    assert (done.returncode, done.stderr) == (2, "error: standard output: No space left on device\n")


@pytest.mark.parametrize("how", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_ascii_output_is_printed_with_replacements(how: dict[str, str], tmp_path: Path) -> None:
    turn = {"input_tokens": 9, "kept_tokens": 0, "output_tokens": 2, "tool": None, "tool_s": 0}
    trace = tmp_path / "Ω😀.jsonl"
    trace.write_text(json.dumps({"program_id": "a", "turns": [turn]}) + "\n")
    done = _shell(f'"$@" --trace {trace}', LC_ALL="C", **how)
    assert done.returncode == 0, done.stderr
    assert "\\u03a9\\ud83d\\ude00.jsonl: 1 programs" in done.stdout
    assert "JCT (a program)" in done.stdout
    as_json = _shell(f'"$@" --json --trace {trace}', LC_ALL="C", **how)
    assert json.loads(as_json.stdout)["trace"] == trace.name  # escaped as JSON escapes
    refused = _shell(f'"$@" --model {tmp_path}/é.json', LC_ALL="C", **how)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
