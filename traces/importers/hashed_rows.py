"""Requests as rows of counts with the hashes of their prompts' blocks, as Mooncake's and Bailian's traces have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from continuum_sim.traces.check import MAX_SECONDS, MAX_TOKENS
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.calls import Call, make_program
from continuum_sim.traces.importers.fields import as_count, as_seconds, as_time, optional_object
from continuum_sim.traces.importers.own import OWN, own_prefix, refined, with_own_rest
from continuum_sim.traces.importers.prefixes import HashIds, Prefixes, as_hash_ids, kept_tokens
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.values import decode, decode_if
from continuum_sim.traces.schema import Program, SharedPrefix

_ABSENT: Final = msgspec.Raw(b"null")
DELTAS: Final = "deltas_without_responses"
"""``context_mode`` of rows that add to a conversation; with another one, or none, they have whole prompts."""


class Line(msgspec.Struct, gc=False):
    """The fields of one line that are read; whatever else it has is passed over."""

    session_id: Any = None
    timestamp: Any = None
    delay: Any = None
    input_length: Any = None
    output_length: Any = None
    hash_ids: Any = None
    context_mode: Any = None
    continuum_sim: Any = None
    # Names that Dynamo's reader takes as well (`MooncakeRow` in its `data-gen` crate).
    input_tokens: Any = None
    output_tokens: Any = None
    created_time: Any = None
    delay_ms: Any = None
    # Text in place of counts.
    messages: msgspec.Raw = _ABSENT
    text_input: msgspec.Raw = _ABSENT
    payload: msgspec.Raw = _ABSENT
    # Bailian's.
    chat_id: Any = None
    parent_chat_id: Any = None


class _UsualLine(Line, gc=False):
    timestamp: int | float | None = None
    input_length: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)] | None = None
    output_length: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)] | None = None
    hash_ids: HashIds | None = None


_LINES: Final = msgspec.json.Decoder(Line)
USUAL_LINES: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_UsualLine)
"""Decodes nearly every line."""


def read_line(data: bytes | msgspec.Raw) -> Any:
    """Return a `Line`, or what else the JSON in ``data`` is.

    Raises
    ------
    TraceError
        If it is no JSON.
    """
    try:
        return decode(data, USUAL_LINES)
    except TraceError:
        return decode_if(_LINES, data)


class Row(msgspec.Struct, array_like=True, gc=False):
    """One request, checked: when it was sent, how long after the turn before ended, and what it holds.

    ``adds`` is whether ``input_tokens`` and ``ids`` are of what it adds to its conversation, where it says so.
    """

    at_s: float | None
    delay_s: float | None
    input_tokens: int
    output_tokens: int
    ids: Sequence[int] | None
    adds: bool | None = None
    own: Any = None


def checked(line: Line, size: int, per_second: float) -> Row:
    """Return the row of a line whose times are written in ``1 / per_second`` seconds.

    Raises
    ------
    TraceError
        At the first field that one row alone can have wrong.
    """
    if type(line) is _UsualLine and (row := _usual(line, size, per_second)) is not None:
        return row
    prompt = line.input_tokens if line.input_length is None else line.input_length
    output = line.output_tokens if line.output_length is None else line.output_length
    at = line.created_time if line.timestamp is None else line.timestamp
    delay = line.delay_ms if line.delay is None else line.delay
    if prompt is None:
        for name in ("messages", "text_input", "payload"):
            if bytes(getattr(line, name)) != b"null":
                raise TraceError(f"the row has {name} and no input_length, expected token counts")
    adds = None if line.context_mode is None else line.context_mode == DELTAS
    input_tokens = as_count(prompt, "input_length", 0 if adds else 1)
    return Row(
        at_s=None if at is None else as_time(at, "timestamp", per_second),
        delay_s=None if delay is None else as_seconds(delay, "delay", per_second),
        input_tokens=input_tokens,
        output_tokens=as_count(output, "output_length"),
        ids=None if line.hash_ids is None else as_hash_ids(line.hash_ids, "hash_ids", input_tokens, size),
        adds=adds,
        own=line.continuum_sim,
    )


def _usual(line: _UsualLine, size: int, per_second: float) -> Row | None:
    """Return the row of a line with a time, counts and hashes alone, which msgspec has checked."""
    at, prompt, output, ids = line.timestamp, line.input_length, line.output_length, line.hash_ids
    if at is None or prompt is None or output is None or ids is None:
        return None
    if not (line.delay is line.delay_ms is line.context_mode is line.continuum_sim is None):
        return None
    if not (abs(at) <= MAX_SECONDS * per_second and prompt // size <= len(ids) <= -(-prompt // size)):
        return None
    return Row(at / per_second, None, prompt, output, ids)


def block_size(own: Any, state: ImportState, default: int) -> int:
    """Return how many tokens a block of a row has: what our exporter wrote, the user said, or the format has."""
    usual = state.block_size or default
    return as_count(own.get("block_size") or usual, "block_size", 1) if isinstance(own, dict) else usual


def conversation(name: str, rows: list[Row], prefixes: Prefixes, state: ImportState, default_size: int) -> Program:
    """Put the rows of one conversation together to a program.

    Raises
    ------
    TraceError
        If they make no sound program.
    """
    calls: list[Call] = []
    before: tuple[Sequence[int], int, int] | None = None
    sizes = [block_size(row.own, state, default_size) for row in rows]
    adding = _adds(rows, sizes[0], state)
    for index, row in enumerate(rows):
        prompt, output, ids = row.input_tokens, max(1, row.output_tokens), row.ids
        kept: int | None = None
        if calls and (adding or ids is None if row.adds is None else row.adds):
            kept = calls[-1].input_tokens + calls[-1].output_tokens
            prompt += kept
        elif ids and before:
            kept = kept_tokens(*before, ids, prompt, sizes[index])
        before = (ids, prompt, output) if ids else None
        call = Call(prompt, output, kept_tokens=kept)
        if index + 1 < len(rows):
            call = Call(prompt, output, kept_tokens=kept, tool="delay", tool_s=_gap(row, rows[index + 1], state))
        calls.append(refined(call, row.own, OWN, state))
    first = rows[0]
    program = make_program(
        state.unique(name),
        calls,
        state,
        arrival_s=_arrival(first),
        shared_prefix=_prefix(first, calls[0].input_tokens, prefixes, sizes[0]),
    )
    return with_own_rest(program, optional_object(first.own))


def gap_between(before_s: float | None, after_s: float | None, state: ImportState) -> float | None:
    """Return the time between the starts of two requests, the service of the first one included; none if unknown."""
    if before_s is None or after_s is None:
        state.note("turns without delay and timestamp, gap taken as 0 s")
        return None
    state.note("gaps between timestamps, the time for the request itself included")
    return after_s - before_s


def _gap(row: Row, following: Row, state: ImportState) -> float | None:
    return following.delay_s if following.delay_s is not None else gap_between(row.at_s, following.at_s, state)


def _adds(rows: list[Row], size: int, state: ImportState) -> bool:
    """Whether the rows of a conversation that do not say so have the hashes of what they add, not of whole prompts."""
    hashed = [(row.ids, row.input_tokens) for row in rows if row.ids and row.adds is None]
    # A first block that is not full has another hash in a longer prompt.
    if len(hashed) < 2 or hashed[0][1] < size:
        return False
    first = hashed[0][0][0]
    if any(ids[0] == first for ids, _ in hashed[1:]):
        return False
    state.note("conversations whose rows have no first block in common, read as adding to each other")
    return True


def _arrival(row: Row) -> float | None:
    if row.at_s is None:
        return None
    arrival_s = as_seconds(row.at_s, "timestamp")
    if isinstance(row.own, dict):
        if row.own.get("arrival_s") is None:
            return arrival_s or None  # our exporter writes 0 where a trace has no arrivals
        exact = as_seconds(row.own["arrival_s"], f"{OWN}.arrival_s")
        if abs(exact - arrival_s) <= 1e-9 * max(exact, 1.0):
            return exact
    return arrival_s


def _prefix(row: Row, input_tokens: int, prefixes: Prefixes, size: int) -> SharedPrefix | None:
    if isinstance(row.own, dict):
        return own_prefix(row.own)
    return prefixes.of(row.ids, input_tokens, size) if row.ids else None
