"""Write our traces in DynoSim's format for agents, `agentic_mooncake` version 2: one JSON line per request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from continuum_sim.traces import Program


def write_mooncake(path: Path, programs: Iterable[Program], block_size: int) -> None:
    """Write programs with arrival times; a turn depends on the end of the one before it plus its tool time."""
    rows = [json.dumps(row) for row in _rows(programs, block_size)]
    header = {
        "schema": "dynamo.agentic_mooncake",
        "version": 2,
        "block_size": block_size,
        "hash_id_scope": "local",
        "source": {"format": "continuum-sim", "digest": hashlib.sha256("".join(rows).encode()).hexdigest()},
    }
    path.write_text("\n".join([json.dumps(header), *rows, ""]))


def _rows(programs: Iterable[Program], block_size: int) -> Iterator[dict[str, Any]]:
    fresh = count(1)
    for program in programs:
        blocks: list[int] = []
        dependencies: list[dict[str, Any]] = []
        for index, turn in enumerate(program.turns):
            del blocks[turn.kept_tokens // block_size :]
            blocks += (next(fresh) for _ in range(len(blocks), -(-turn.input_tokens // block_size)))
            name = f"{program.program_id}/{index}"
            yield {
                "request_id": name,
                "play_id": program.program_id,
                "session_id": program.program_id,
                "model": "any",
                "input_length": turn.input_tokens,
                "output_length": turn.output_tokens,
                "hash_ids": blocks,
                "not_before_ms": (program.arrival_s or 0.0) * 1e3,
                "dependencies": dependencies,
            }
            after = {"request_id": name, "trigger": "completion", "relation": "sequence"}
            dependencies = [{**after, "delay_ms": turn.tool_s * 1e3}]
