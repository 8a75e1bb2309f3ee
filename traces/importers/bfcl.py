"""Results of the Berkeley Function-Calling Leaderboard (``BFCL_v4_*_result.json``): one entry per line.

Source: github.com/ShishirPatil/gorilla,
``berkeley-function-call-leaderboard/bfcl_eval/model_handler/base_handler.py``: ``input_token_count``,
``output_token_count`` and ``latency`` are one number for an entry of one call, otherwise a list (one item per user
turn) of lists (one per call). ``latency`` is the model's time; function times are not recorded. An entry that failed
has the error as its ``result`` and no counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.fields import (
    as_array,
    as_count,
    as_object,
    as_text,
    optional_array,
    optional_object,
)
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_program
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program

_FUNCTION = re.compile(r"\s*([\w.]+)\s*\(")
_FAILED = "Error during inference"


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    return each_program(sources, state, _program)


def _program(value: Any, state: ImportState) -> Program | None:
    record = as_object(value, "the line")
    name = as_text(record.get("id"), "id")
    result = record.get("result")
    if record.get("input_token_count") is None and isinstance(result, str) and result.startswith(_FAILED):
        state.note("entries that failed during inference, left out")
        return None
    prompts = _turns(record.get("input_token_count"), "input_token_count", 1)
    outputs = _turns(record.get("output_token_count"), "output_token_count", 0)
    if [len(turn) for turn in prompts] != [len(turn) for turn in outputs]:
        raise TraceError(
            "input_token_count and output_token_count have different shapes, expected one number a call in both"
        )
    logs = [log for log in optional_array(record.get("inference_log")) if isinstance(log, dict)]
    calls: list[Call] = []
    for turn, (inputs, answers) in enumerate(zip(prompts, outputs, strict=True)):
        log = logs[turn] if turn < len(logs) else {}
        for step, (prompt, output) in enumerate(zip(inputs, answers, strict=True)):
            tool = _tool(log.get(f"step_{step}")) if step + 1 < len(inputs) else "user"
            calls.append(Call(prompt, output, tool=tool, tool_s=None))
    return make_program(state.unique(name), calls, state)


def _turns(value: Any, place: str, low: int) -> list[list[int]]:
    """Return counts by turn and call; a single number stands for one call."""
    if not isinstance(value, list):
        return [[as_count(value, place, low)]]
    return [
        [as_count(count, f"{place}[{i}][{j}]", low) for j, count in enumerate(as_array(turn, f"{place}[{i}]"))]
        for i, turn in enumerate(value)
    ]


def _tool(log: Any) -> str:
    names: list[str] = []
    for entry in optional_array(log):
        for call in optional_array(optional_object(entry).get("model_response_decoded")):
            found = _FUNCTION.match(call) if isinstance(call, str) else None
            if found:
                names.append(found.group(1))
    return joined(names) or "function"


def _sniff(head: Head) -> float:
    return 1.0 if head.has("input_token_count", "output_token_count") else 0.0


BFCL = Importer(
    name="bfcl",
    title="BFCL result files",
    source="github.com/ShishirPatil/gorilla: bfcl_eval/model_handler/base_handler.py",
    patterns=("BFCL_*_result.json",),
    sniff=_sniff,
    read=_read,
    measured=("input_tokens and output_tokens: input_token_count, output_token_count",),
    derived=(
        "kept_tokens: from prompt lengths (reasoning that was not sent back breaks the prefix)",
        "tool: functions called, several joined by +; user where the scripted user speaks next",
    ),
    missing=("tool_s: 0 everywhere", "arrival_s", "shared_prefix"),
)
