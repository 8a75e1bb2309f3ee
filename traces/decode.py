"""One line of a trace file to one program."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final, NoReturn

from continuum_sim.traces.check import MAX_TOKENS, MISSING, check_program
from continuum_sim.traces.errors import TraceError, nearest, shown
from continuum_sim.traces.schema import Program, SharedPrefix, Turn

PROGRAM_FIELDS: Final = (*(field.name for field in fields(Program)), "meta")
TURN_FIELDS: Final = tuple(field.name for field in fields(Turn))
SHARED_PREFIX_FIELDS: Final = tuple(field.name for field in fields(SharedPrefix))


def decode_program(line: bytes) -> Program:
    """Decode and check one line.

    Raises
    ------
    TraceError
        Without a place, which the caller knows: bad JSON, an unknown, missing or repeated field, a
        value of the wrong type or out of its range.
    """
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
    except ValueError:  # the only one left: Python's limit on the digits of an integer
        raise TraceError("a number in it is too long to read, expected at most 2**53") from None
    program = _program(value)
    check_program(program)
    return program


def _program(value: Any) -> Program:
    record = _object("the line", value, PROGRAM_FIELDS)
    turns = record.get("turns", MISSING)
    if type(turns) is not list:
        found = "missing" if turns is MISSING else shown(turns)
        raise TraceError(f"turns is {found}, expected an array of turns")
    if type(record.get("meta", {})) is not dict:
        raise TraceError(f"meta is {shown(record['meta'])}, expected an object")
    last = len(turns) - 1
    return Program(
        program_id=record.get("program_id", MISSING),
        turns=tuple([_turn(turn, index, is_last=index == last) for index, turn in enumerate(turns)]),
        arrival_s=_seconds(record.get("arrival_s")),
        shared_prefix=_shared_prefix(record.get("shared_prefix")),
    )


def _turn(value: Any, index: int, *, is_last: bool) -> Turn:
    record = _object(f"turns[{index}]", value, TURN_FIELDS)
    return Turn(
        record.get("input_tokens", MISSING),
        record.get("kept_tokens", MISSING),
        record.get("output_tokens", MISSING),
        record.get("tool", None if is_last else MISSING),
        _seconds(record.get("tool_s", 0.0 if is_last else MISSING)),
    )


def _shared_prefix(value: Any) -> SharedPrefix | None:
    if value is None:
        return None
    record = _object("shared_prefix", value, SHARED_PREFIX_FIELDS)
    return SharedPrefix(record.get("id", MISSING), record.get("tokens", MISSING))


def _object(place: str, value: Any, known: Iterable[str]) -> dict[str, Any]:
    if type(value) is not dict:
        raise TraceError(f"{place} is {shown(value)}, expected an object with {', '.join(known)}")
    for name in value:
        if name not in known:
            where = "" if place == "the line" else f"{place}."
            unknown = shown(name)[1:-1]
            raise TraceError(
                f"{where}{unknown} is an unknown field{nearest(name, known) or ','} expected only {', '.join(known)}"
            )
    return value


def _seconds(value: Any) -> Any:
    # Python's JSON reader makes 5 an int: times are floats. Anything else is left for the check to report.
    return float(value) if type(value) is int and abs(value) <= MAX_TOKENS else value


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise TraceError(f"field {shown(repeated)} is there twice in one object, expected once")
    return record


def _no_constants(name: str) -> NoReturn:
    raise TraceError(f"{name} is not JSON, expected finite numbers")


# The standard library's reader, not a faster one: it can be told to refuse repeated fields and NaN.
# About 1 µs a turn.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_constant=_no_constants)
