"""Checked values from JSON: a wrong one is refused with file, line and field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from continuum_sim.traces.check import MAX_SECONDS, MAX_TOKENS
from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.traces.importers.values import MAX_DOCUMENT_BYTES


class Fields:
    """The fields of one JSON object, and where it was read."""

    def __init__(self, values: Mapping[str, Any], path: Path, line: int | None = None) -> None:
        self.values = values
        self.path = path
        self.line = line

    def __contains__(self, name: str) -> bool:
        """Return True if the field is present and not null."""
        return self.values.get(name) is not None

    def text(self, name: str) -> str:
        """Return a non-empty string."""
        value = self.values.get(name)
        if not isinstance(value, str) or not value:
            self.refuse(name, value, "a non-empty string")
        return value

    def tokens(self, name: str) -> int:
        """Return a count of at least 1."""
        return self._tokens(name, self.values.get(name))

    def share(self, name: str) -> float:
        """Return a field that holds a share above 0 and at most 1."""
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            self.refuse(name, value, "a share above 0 and at most 1")
        return float(value)

    def seconds(self, name: str) -> float:
        """Return a finite number."""
        return self._seconds(name, self.values.get(name))

    def array(self, name: str, length: int | None = None) -> list[Any]:
        """Return an array, of `length` elements if given."""
        value = self.values.get(name)
        if not isinstance(value, list):
            self.refuse(name, value, "an array")
        if length is not None and len(value) != length:
            raise TraceError(f"{name} has {len(value)} elements, expected {length}, one a request", path=self.path)
        return value

    def tokens_at(self, name: str, index: int) -> int:
        """Return the count at an index of an array."""
        return self._tokens(f"{name}[{index}]", self.values[name][index])

    def seconds_at(self, name: str, index: int) -> float:
        """Return the finite number at an index of an array."""
        return self._seconds(f"{name}[{index}]", self.values[name][index])

    def refuse(self, name: str, value: object, expected: str) -> NoReturn:
        """Raise an error that says what is in a field and what was expected."""
        in_array = "[" in name
        found = "missing" if value is None and not in_array and name not in self.values else shown(value)
        raise TraceError(f"{name} is {found}, expected {expected}", path=self.path, line=self.line)

    def _tokens(self, name: str, value: object) -> int:
        # type(): True is an int to Python.
        if type(value) is not int or not 1 <= value <= MAX_TOKENS:
            self.refuse(name, value, "a whole number of tokens, at least 1")
        return value

    def _seconds(self, name: str, value: object) -> float:
        # Check the bound before the conversion, which would fail for an integer of hundreds of digits.
        if type(value) not in (int, float) or not abs(value) <= MAX_SECONDS:  # type: ignore[arg-type]
            self.refuse(name, value, "a finite number of seconds")
        return float(value)  # type: ignore[arg-type]


def parse_object(text: bytes, path: Path, line: int | None = None) -> dict[str, Any]:
    """Decode one JSON object.

    Raises
    ------
    TraceError
        With file, line and column, for anything else.
    """
    try:
        value = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TraceError(f"is not UTF-8 text (byte {error.start + 1})", path=path, line=line) from None
    except json.JSONDecodeError as error:
        place = line if line is not None else error.lineno
        raise TraceError(f"not valid JSON at column {error.colno} ({error.msg})", path=path, line=place) from None
    except RecursionError:
        raise TraceError("nested too deeply, expected a JSON object", path=path, line=line) from None
    except ValueError:  # the only cause left: Python's limit on the digits of an integer
        raise TraceError("a number in it has too many digits to read", path=path, line=line) from None
    if not isinstance(value, dict):
        raise TraceError(f"is {shown(value)}, expected a JSON object", path=path, line=line)
    return value


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises
    ------
    TraceError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror}", path=path) from error
    if len(data) > MAX_DOCUMENT_BYTES:
        raise TraceError(f"larger than {MAX_DOCUMENT_BYTES >> 20} MiB, expected the log of one run", path=path)
    return data


def numbered_lines(data: bytes) -> list[tuple[int, bytes]]:
    """Return the lines that are not blank, with their numbers from 1."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
