from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Program, Turn


@pytest.fixture
def record() -> dict[str, Any]:
    """Return a valid two-turn line, for tests to break."""
    return {
        "program_id": "a",
        "arrival_s": 1.5,
        "shared_prefix": {"id": "sys", "tokens": 50},
        "turns": [
            {"input_tokens": 100, "kept_tokens": 0, "output_tokens": 10, "tool": "ls", "tool_s": 0.5},
            {"input_tokens": 150, "kept_tokens": 110, "output_tokens": 20, "tool": None, "tool_s": 0.0},
        ],
    }


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Write each argument (bytes as they are, anything else as JSON) as one line of ``t.jsonl``."""

    def write(*lines: object) -> Path:
        path = tmp_path / "t.jsonl"
        path.write_bytes(
            b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        )
        return path

    return write


@pytest.fixture
def chat() -> Callable[..., Program]:
    """Build a program of ``n_turns`` appending turns."""

    def build(program_id: str = "a", n_turns: int = 3, arrival_s: float | None = None) -> Program:
        turns = [Turn(100 * (i + 1), 100 * i + 10 if i else 0, 10, "ls", 0.5) for i in range(n_turns - 1)] + [
            Turn(100 * n_turns, 100 * (n_turns - 1) + 10 if n_turns > 1 else 0, 10)
        ]
        return Program(program_id, tuple(turns), arrival_s)

    return build
