"""Export to kv-cache-tester (Weka) conversations: one JSON object per program.

Our own fields go into ``totals``, which its readers treat as opaque (github.com/ai-dynamo/aiperf,
``weka_trace_models.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from continuum_sim.traces.exporters.api import Exporter
from continuum_sim.traces.exporters.blocks import BlockIds
from continuum_sim.traces.exporters.own import OWN, own_program, own_turn
from continuum_sim.traces.schema import Program

_MODEL: Final = "any"
"""A trace does not name its model; replayers send the one they serve."""


def weka_documents(programs: Iterable[Program], block_size: int) -> Iterator[dict[str, Any]]:
    """Yield one conversation per program, with block ids that count from its start."""
    for program in programs:
        blocks = BlockIds(block_size, whole_only=True)
        requests = _requests(program, blocks)
        # The format has one level only: sub-agents of sub-agents stand beside them, after the same request.
        for child in sorted(program.children, key=lambda child: -child.after_turn):
            entries = [_agent(member, requests[child.after_turn]["t"], blocks) for member in child.program.family()]
            requests[child.after_turn + 1 : child.after_turn + 1] = entries
        yield {
            "id": program.program_id,
            "models": [_MODEL],
            "block_size": block_size,
            "hash_id_scope": "local",
            "tool_tokens": 0,
            "system_tokens": program.shared_prefix.tokens if program.shared_prefix else 0,
            "requests": requests,
            "totals": {OWN: {**own_program(program), "turns": [own_turn(turn) for turn in program.turns]}},
        }


def _requests(program: Program, blocks: BlockIds) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = []
    at_s = gap_s = 0.0
    for index, (turn, ids) in enumerate(zip(program.turns, blocks.of(program), strict=True)):
        last = turn.tool is None
        at_s += gap_s
        requests.append(
            {
                "t": at_s,
                "type": "n",
                "model": _MODEL,
                "in": turn.input_tokens,
                "out": turn.output_tokens,
                "hash_ids": ids,
                "input_types": ["tool_result" if index else "text"],
                "output_types": ["text" if last else "tool_use"],
                "stop": "end_turn" if last else "tool_use",
                "think_time": gap_s,
            }
        )
        gap_s = float(turn.tool_s)
    return requests


def _agent(program: Program, at_s: float, blocks: BlockIds) -> dict[str, Any]:
    return {
        "t": at_s,
        "type": "subagent",
        "agent_id": program.program_id,
        "subagent_type": _MODEL,
        "duration_ms": None,
        "total_tokens": program.total_tokens,
        "tool_use_count": len(program.turns) - 1,
        "status": "completed",
        "requests": _requests(program, blocks),
        "models": [_MODEL],
        "tool_tokens": 0,
        "system_tokens": program.shared_prefix.tokens if program.shared_prefix else 0,
    }


WEKA = Exporter("weka", weka_documents, block_size=64, folder=True)
