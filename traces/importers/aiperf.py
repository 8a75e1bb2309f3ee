"""AIPerf ``multi_turn``: one conversation per line, as text.

Source: github.com/ai-dynamo/aiperf, ``src/aiperf/dataset/loader/models.py`` (``MultiTurn``, ``SingleTurn``) and
``multi_turn.py``: ``delay`` in ms before a turn is sent, ``timestamp`` in ms, ``output_length``; a turn's text is
what the user adds, a leading ``role: system`` turn precedes every prompt, and the server's answers stay in the
conversation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, make_program
from continuum_sim.traces.importers.fields import as_array, as_count, as_object, as_seconds, as_text, optional_object
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.own import OWN, own_arrival, own_parent, own_prefix, refined, with_own_rest
from continuum_sim.traces.importers.sources import Source, each_row
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program, SharedPrefix

_NOT_TEXT = ("image", "images", "audio", "audios", "video", "videos")


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    for source, number, value in each_row(sources, state):
        if isinstance(value, dict) and own_parent(value.get(OWN)):
            continue  # part of the program that started it
        try:
            program = _program(value, f"{source.stem}-{number}", state)
        except TraceError as error:
            state.bad(error, source.path, number)
            continue
        yield program


def _program(value: Any, default_name: str, state: ImportState) -> Program:
    record = as_object(value, "the line")
    name = default_name if record.get("session_id") is None else as_text(record["session_id"], "session_id")
    turns = [as_object(t, f"turns[{i}]") for i, t in enumerate(as_array(record.get("turns"), "turns"))]
    own = optional_object(record.get(OWN))
    prefix = own_prefix(own)
    context = 0
    if len(turns) > 1 and _is_system(turns[0]):
        text = _text(turns[0], "turns[0]")
        context = state.needed_tokens("turns[0]").count(text)
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        prefix = SharedPrefix(f"system-{digest[:16]}", context) if context else None
        turns = turns[1:]
    calls: list[Call] = []
    for index, turn in enumerate(turns):
        place = f"turns[{index}]"
        if turn.get("output_length") is None:
            raise TraceError(f"{place}.output_length is missing, expected how many tokens the answer has")
        output = as_count(turn["output_length"], f"{place}.output_length", 1)
        prompt = max(1, context + _new_tokens(turn, place, state))
        exact = optional_object(turn.get(OWN))
        if exact.get("input_tokens") is not None:
            prompt = as_count(exact["input_tokens"], f"{place}.{OWN}.input_tokens", 1)
        gap_s = 0.0
        if index + 1 < len(turns):
            gap_s = as_seconds(turns[index + 1].get("delay") or 0.0, f"turns[{index + 1}].delay", 1e3)
        call = Call(prompt, output, kept_tokens=context if index else None, tool="delay", tool_s=gap_s)
        calls.append(refined(call, exact or None, f"{place}.{OWN}", state))
        context = prompt + output
    arrival_s = own_arrival(own)
    if arrival_s is None and turns and turns[0].get("timestamp") is not None:
        arrival_s = as_seconds(turns[0]["timestamp"], "turns[0].timestamp", 1e3)
    program = make_program(state.unique(name), calls, state, arrival_s=arrival_s, shared_prefix=prefix)
    return with_own_rest(program, own)


def _is_system(turn: dict[str, Any]) -> bool:
    """Return True if AIPerf treats a first turn as the conversation's system prompt."""
    others = ("timestamp", "delay", "output_length", "extra")
    return turn.get("role") == "system" and all(turn.get(name) is None for name in others)


def _new_tokens(turn: dict[str, Any], place: str, state: ImportState) -> int:
    exact = optional_object(turn.get(OWN))
    if exact.get("input_tokens") is not None:
        return 0
    return state.needed_tokens(place).count(_text(turn, place))


def _text(turn: dict[str, Any], place: str) -> str:
    for name in _NOT_TEXT:
        if turn.get(name):
            raise TraceError(f"{place} has {name}, expected text only (other media have no token counts)")
    if turn.get("text") is not None:
        return as_text(turn["text"], f"{place}.text")
    texts: list[str] = []
    for item in as_array(turn.get("texts"), f"{place}.text"):
        if isinstance(item, dict):
            texts += [
                as_text(t, f"{place}.texts.contents") for t in as_array(item.get("contents"), f"{place}.texts.contents")
            ]
        else:
            texts.append(as_text(item, f"{place}.texts"))
    return "\n".join(texts)


def _sniff(head: Head) -> float:
    if not head.has("turns") or head.has("program_id") or {"forks", "spawns"} & head.names:
        return 0.0  # turns that fork belong to its other format, the dag
    return 0.9 if {"text", "texts"} & head.names else 0.4


AIPERF = Importer(
    name="aiperf",
    title="AIPerf multi_turn conversations",
    source="github.com/ai-dynamo/aiperf: src/aiperf/dataset/loader/models.py, multi_turn.py",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "output_tokens: output_length",
        "tool_s: delay of the turn that follows",
        "arrival_s: timestamp of the first turn",
    ),
    derived=(
        "input_tokens: all turns before with their answers, and this turn's text counted with --tokenizer",
        "kept_tokens: all of the turn before, as AIPerf sends it",
        "shared_prefix: a leading system turn",
    ),
    missing=("names of tools: delay",),
)
