"""Export to AIPerf's ``multi_turn``: one conversation per line, with filler in place of text.

A turn's text has as many words as the turn has new prompt tokens. How many tokens a server counts in it depends on its
tokenizer, and AIPerf always keeps the whole conversation: where a trace drops reasoning or compacts, the replayed
prompt is longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from continuum_sim.traces.exporters.api import Exporter
from continuum_sim.traces.exporters.own import OWN, family, own_turn
from continuum_sim.traces.schema import Program

_WORD: Final = "go"
"""One token, with a space before it, in the vocabularies of Llama, Qwen and GPT models."""


def aiperf_rows(programs: Iterable[Program], block_size: int = 0) -> Iterator[dict[str, Any]]:
    """Yield one conversation per program; the format has no blocks."""
    for program in programs:
        for member, own_member in family(program):
            yield {"session_id": member.program_id, "turns": _turns(member), OWN: own_member}


def _turns(program: Program) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    gap_s = 0.0
    for index, turn in enumerate(program.turns):
        row: dict[str, Any] = {
            "text": " ".join([_WORD] * max(1, turn.new_tokens)),
            "output_length": turn.output_tokens,
        }
        if index:
            row["delay"] = gap_s * 1e3
        elif program.arrival_s is not None:
            row["timestamp"] = program.arrival_s * 1e3
        row[OWN] = {"input_tokens": turn.input_tokens, **own_turn(turn)}
        rows.append(row)
        gap_s = turn.tool_s
    return rows


AIPERF = Exporter("aiperf", aiperf_rows)
