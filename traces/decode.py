"""Decode one line of a trace file to one program."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final, NoReturn

from continuum_sim.traces.check import MAX_DEPTH, MAX_TOKENS, MISSING, check_program
from continuum_sim.traces.errors import TraceError, nearest, shown
from continuum_sim.traces.lines import check_containers
from continuum_sim.traces.schema import STOP, Child, Program, SharedPrefix, ToolCall, Turn, tool_label

PROGRAM_FIELDS: Final = (*(field.name for field in fields(Program)), "meta")
TURN_FIELDS: Final = tuple(field.name for field in fields(Turn))
TOOL_CALL_FIELDS: Final = tuple(field.name for field in fields(ToolCall))
SHARED_PREFIX_FIELDS: Final = tuple(field.name for field in fields(SharedPrefix))
CHILD_FIELDS: Final = tuple(field.name for field in fields(Child))
_THE_LINE: Final = "the line"


def decode_program(line: bytes) -> Program:
    """Decode and check one line.

    Raises
    ------
    TraceError
        Without a place, which the caller knows: bad JSON; an unknown, missing or repeated field; a
        value of the wrong type or out of range.
    """
    check_containers(line)
    try:
        value = _DECODER.decode(line.decode("utf-8").rstrip())
    except TraceError:
        raise
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise TraceError(f"byte 0x{byte:02x} at column {error.start + 1} is not UTF-8, expected text") from None
    except json.JSONDecodeError as error:
        problem = f"not valid JSON at column {error.pos + 1} ({error.msg.lower()})"
        raise TraceError(f"{problem}, expected one program (a JSON object) a line") from None
    except RecursionError:
        raise TraceError("nested too deeply, expected one program (a JSON object) a line") from None
    except ValueError:  # the only cause left: Python's limit on the digits of an integer
        raise TraceError("a number in it is too long to read, expected at most 2**53") from None
    program = _program(value)
    check_program(program)
    return program


def decode_children(value: Any) -> tuple[Child, ...]:
    """Decode a program's sub-agents from parsed JSON; `check_program` checks the rest.

    Raises
    ------
    TraceError
        Without a place, which the caller knows: an unknown or missing field, or a value of the wrong type.
    """
    return _children(value, 0)


def _program(value: Any, depth: int = 0) -> Program:
    record = _object(_THE_LINE, value, PROGRAM_FIELDS)
    turns = _array("turns", record.get("turns", MISSING), "an array of turns")
    if type(record.get("meta", {})) is not dict:
        raise TraceError(f"meta is {shown(record['meta'])}, expected an object")
    last = len(turns) - 1
    return Program(
        program_id=record.get("program_id", MISSING),
        turns=tuple([_turn(turn, index, is_last=index == last) for index, turn in enumerate(turns)]),
        arrival_s=_seconds(record.get("arrival_s")),
        shared_prefix=_shared_prefix(record.get("shared_prefix")),
        children=_children(record["children"], depth) if "children" in record else (),
        priority=record.get("priority", 0),
    )


def _children(value: Any, depth: int) -> tuple[Child, ...]:
    if depth > MAX_DEPTH:
        return ()  # the check refuses the parent for having any
    children = []
    for index, item in enumerate(_array("children", value, "an array of sub-agents")):
        place = f"children[{index}]"
        record = _object(place, item, CHILD_FIELDS)
        inner = _object(f"{place}.program", record.get("program", MISSING), PROGRAM_FIELDS)
        try:
            program = _program(inner, depth + 1)
        except TraceError as error:
            raise TraceError(f"{place}.program.{error.detail}") from None
        children.append(Child(program, record.get("after_turn", MISSING), record.get("join_turn")))
    return tuple(children)


def _turn(value: Any, index: int, *, is_last: bool) -> Turn:
    record = _object(f"turns[{index}]", value, TURN_FIELDS)
    tools = _tools(f"turns[{index}].tools", record["tools"]) if "tools" in record else ()
    if tools:  # omitted fields follow from the calls, whose types `check_program` checks
        names = [call.tool for call in tools]
        durations = [call.tool_s for call in tools]
        if all(type(name) is str for name in names):
            record.setdefault("tool", tool_label(tools))
        if all(type(tool_s) is float for tool_s in durations):
            record.setdefault("tool_s", max(durations))
    return Turn(
        record.get("input_tokens", MISSING),
        record.get("kept_tokens", MISSING),
        record.get("output_tokens", MISSING),
        record.get("tool", None if is_last else MISSING),
        _seconds(record.get("tool_s", 0.0 if is_last else MISSING)),
        tools,
        record.get("finish", STOP),
        _seconds(record.get("mean_acceptance_length")),
    )


def _tools(place: str, value: Any) -> tuple[ToolCall, ...]:
    expected = "an array of tool calls made at once"
    calls = []
    for number, item in enumerate(_array(place, value, expected)):
        record = _object(f"{place}[{number}]", item, TOOL_CALL_FIELDS)
        calls.append(ToolCall(record.get("tool", MISSING), _seconds(record.get("tool_s", MISSING))))
    if not calls:
        raise TraceError(f"{place} is empty, expected {expected} (leave the field out for a single call)")
    return tuple(calls)


def _shared_prefix(value: Any) -> SharedPrefix | None:
    if value is None:
        return None
    record = _object("shared_prefix", value, SHARED_PREFIX_FIELDS)
    return SharedPrefix(record.get("id", MISSING), record.get("tokens", MISSING))


def _object(place: str, value: Any, known: Iterable[str]) -> dict[str, Any]:
    if type(value) is not dict:
        found = "missing" if value is MISSING else shown(value)
        raise TraceError(f"{place} is {found}, expected an object with {', '.join(known)}")
    for name in value:
        if name not in known:
            where = "" if place == _THE_LINE else f"{place}."
            unknown = shown(name)[1:-1]
            raise TraceError(
                f"{where}{unknown} is an unknown field{nearest(name, known) or ','} expected only {', '.join(known)}"
            )
    return value


def _array(place: str, value: Any, expected: str) -> list[Any]:
    if type(value) is not list:
        found = "missing" if value is MISSING else shown(value)
        raise TraceError(f"{place} is {found}, expected {expected}")
    return value


def _seconds(value: Any) -> Any:
    # Python's JSON reader makes 5 an int, and times are floats. Anything else is left for the check to report.
    return float(value) if type(value) is int and abs(value) <= MAX_TOKENS else value


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise TraceError(f"field {shown(repeated)} appears twice in one object, expected once")
    return record


def _no_constants(name: str) -> NoReturn:
    raise TraceError(f"{name} is not JSON, expected finite numbers")


# The standard library's reader, because faster ones cannot refuse repeated fields and NaN.
# About 1 µs a turn.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_constant=_no_constants)
