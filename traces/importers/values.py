"""The JSON values of a file: one per line, one over several lines, or several of those in sequence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.lines import MOST_CONTAINERS, check_containers

MAX_DOCUMENT_BYTES: Final = 512 * 2**20
"""The largest JSON value; it must fit in memory whole."""

_TRAILING: Final = re.compile(r"trailing characters \(byte (\d+)\)")
"""What msgspec says of a second value: how many bytes it had read, including the first of that value."""
_AT_BYTE: Final = re.compile(r" \(byte (\d+)\)")
_CUT_OFF: Final = "Input data was truncated"
_ARRAY: Final = re.compile(rb"\s*\[")
_NOT_BLANK: Final = re.compile(rb"\S")
_OF_A_FIELD: Final = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
"""What msgspec says of a value whose type is not its field's."""

T = TypeVar("T")
ANYTHING: Final = msgspec.json.Decoder()
"""Decodes any JSON value."""
_FIELDS: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(list[msgspec.Raw])
_UNREAD: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(msgspec.Raw)
_LARGE_BYTES: Final = 2**20
"""From this size on, what a document takes in memory counts."""


def decode(data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Any] = ANYTHING) -> Any:
    """Return the JSON value in ``data``, decoded by ``decoder``, which skips the fields it does not name.

    Raises
    ------
    TraceError
        Without a place, if it is not JSON.
    """
    if len(memoryview(data)) > MOST_CONTAINERS:
        check_containers(bytes(data))
    try:
        return decoder.decode(data)
    except RecursionError:
        raise TraceError("nested too deeply, expected JSON") from None
    except msgspec.ValidationError as error:
        found = _OF_A_FIELD.fullmatch(str(error))
        what, place = found.groups() if found else (str(error), "")
        raise TraceError(f"{place or 'the value'}: {what.replace('`', '')}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise TraceError(_said(str(error))) from None


def opened(value: Any) -> Any:
    """Return a value whose JSON is not decoded yet as an object or array of such values; any other one unchanged.

    A large document is read in pieces this way: decoded, it takes up to eight times its size.
    """
    if type(value) is not msgspec.Raw:
        return value
    begin = bytes(memoryview(value)[:1])
    return decode(value, _FIELDS if begin == b"{" else _ITEMS if begin == b"[" else ANYTHING)


def whole(value: Any) -> Any:
    """Return a value whose JSON is not decoded yet decoded, and any other one unchanged."""
    return decode(value) if type(value) is msgspec.Raw else value


def large_or_whole(data: bytes | msgspec.Raw) -> Any:
    """Return a small JSON value decoded, and a large one to be `opened`.

    Raises
    ------
    TraceError
        As `decode`.
    """
    if len(memoryview(data)) < _LARGE_BYTES:
        return decode(data)
    return decode(data, _UNREAD)


def decode_if(typed: msgspec.json.Decoder[Any], data: bytes | msgspec.Raw) -> Any:
    """Decode the JSON value in ``data`` with ``typed``, or as a plain value if it has another type.

    Raises
    ------
    TraceError
        As `decode`.
    """
    try:
        return decode(data, typed)
    except TraceError:
        return decode(data)


def decode_lines(lines: Sequence[bytes | msgspec.Raw], decoder: msgspec.json.Decoder[T]) -> list[T] | None:
    """Return the JSON objects in several lines of a file, for half of what `decode` takes.

    None if one of them is anything else, or not what ``decoder`` expects, or if there is a single one.
    """
    text = b"".join(lines) if len(lines) > 1 else b""
    breaks = text.count(b"}\n{") + text.count(b"}\r\n{")
    if not text or breaks != len(lines) - 1:
        return None
    try:
        found: list[T] = decoder.decode_lines(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    # Values end where lines do: a closing brace, a line break and an opening brace are nowhere inside of one.
    return found if len(found) == len(lines) else None


def reader(kind: type[T]) -> Callable[[bytes | msgspec.Raw], T]:
    """Return a function that reads a JSON value as ``kind``, a struct of the needed fields, and skips the rest.

    The function raises a `TraceError` without a place if a value is not JSON, or not of that kind.
    """
    decoder = msgspec.json.Decoder(kind)
    return lambda data: decode(data, decoder)


def split_values(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes | msgspec.Raw]]:
    """Yield ``(line number, bytes)`` of every JSON value in the numbered lines of a file.

    Each line is a value, valid or not, unless the first is only the beginning of a value and the second is not a value
    either; then the whole file is read at once.

    Raises
    ------
    TraceError
        With a line and no path, if values over several lines are not JSON, or exceed 512 MiB.
    """
    first = next(lines, None)
    if first is None:
        return
    second = next(lines, None) if _fault(first[1]) == _CUT_OFF else None
    if second is None or not (first[1].strip() in (b"[", b"{") or _fault(second[1])):
        yield first
        if second is not None:
            yield second
        yield from lines
        return
    number, line = first
    data = bytearray(line)
    while second is not None:
        # Blank lines are not passed on, but they count.
        data += b"\n" * (second[0] - number - 1) + second[1]
        number = second[0]
        if len(data) > MAX_DOCUMENT_BYTES:
            raise TraceError(f"over {MAX_DOCUMENT_BYTES >> 20} MiB of JSON over several lines", line=first[0])
        second = next(lines, None)
    yield from _split(data, first[0])


def split_items(value: bytes | msgspec.Raw, line: int) -> Iterator[tuple[int, bytes | msgspec.Raw]]:
    """Yield the items of an array with their line numbers; anything else unchanged."""
    data = memoryview(value)
    if not _ARRAY.match(data):
        yield line, value
        return
    try:
        items = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        yield line, value
        return
    text = bytes(data)
    counted = start = 0
    for item in items:
        # A comma and blanks precede an item, so the first place where its bytes occur is its own.
        start = text.find(item, start)
        line += text.count(b"\n", counted, start)
        counted = start
        start += len(memoryview(item))
        yield line, item


def _split(data: bytearray, line: int) -> Iterator[tuple[int, msgspec.Raw]]:
    counted = start = 0
    whole = memoryview(data)
    while found := _NOT_BLANK.search(data, start):
        start = found.start()
        line += data.count(b"\n", counted, start)
        counted = start
        fault = _fault(whole[start:])
        trailing = _TRAILING.search(fault)
        if fault and not trailing:
            at = _AT_BYTE.search(fault)
            place = start + int(at.group(1)) if at else len(data)
            raise TraceError(_said(_AT_BYTE.sub("", fault)), line=line + data.count(b"\n", start, place))
        end = start + int(trailing.group(1)) - 1 if trailing else len(data)
        yield line, msgspec.Raw(whole[start:end])
        start = end


def _fault(data: bytes | memoryview) -> str:
    """Return what is wrong with ``data`` as one JSON value, in msgspec's words; empty if nothing is."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except RecursionError:
        return "nested too deeply"
    except (msgspec.MsgspecError, ValueError) as error:
        return str(error)
    return ""


def _said(fault: str) -> str:
    return f"not valid JSON ({fault.removeprefix('JSON is malformed: ')}), expected JSON"
