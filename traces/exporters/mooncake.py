"""Export to Mooncake rows with ``session_id`` and ``delay`` (ms), as NVIDIA Dynamo and AIPerf replay them.

Every row holds the whole prompt and its block hashes, as Dynamo reads it, and AIPerf with the ``context_mode`` written
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from continuum_sim.traces.exporters.api import Exporter
from continuum_sim.traces.exporters.blocks import BlockIds
from continuum_sim.traces.exporters.own import OWN, family, own_turn
from continuum_sim.traces.schema import Program


def mooncake_rows(programs: Iterable[Program], block_size: int) -> Iterator[dict[str, Any]]:
    """Yield one row per turn, each program's turns together."""
    blocks = BlockIds(block_size, whole_only=False)
    for program in programs:
        for member, own_member in family(program):
            before = None
            for turn, ids in zip(member.turns, blocks.of(member), strict=True):
                row: dict[str, Any] = {"session_id": member.program_id}
                own: dict[str, Any] = {"block_size": block_size, **own_turn(turn)}
                if member is not program:
                    own["sub_agent_of"] = program.program_id
                if before is not None:
                    row["delay"] = before.tool_s * 1e3
                else:
                    own |= own_member
                    # Dynamo refuses a conversation without a start time.
                    row["timestamp"] = (member.arrival_s or 0.0) * 1e3
                row |= {"input_length": turn.input_tokens, "output_length": turn.output_tokens, "hash_ids": ids}
                yield {**row, "context_mode": "message_array_with_responses", OWN: own}
                before = turn


MOONCAKE = Exporter("mooncake", mooncake_rows, block_size=512)
