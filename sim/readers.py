"""Read users' files (JSON, TOML and Parquet), bounded in size, with errors in one line.

Any fault of a file becomes a `ConfigError` that names it; the requirements on fields are up to each reader.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, overload

import msgspec

from continuum_sim.errors import ConfigError
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.lines import check_containers

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

T = TypeVar("T")

MAX_JSON_BYTES: Final = 256 * 2**20
"""Size of the largest JSON file: it must fit in memory whole."""
MAX_LINE_BYTES: Final = 2**20
"""Length of the longest line of a decision log or a log of steps; ours have a few hundred bytes."""
MAX_TOML_BYTES: Final = 2**20
MAX_DEPTH: Final = 100
"""Most levels of nesting, far beyond any file of ours."""
MAX_ROWS_PER_BYTE: Final = 64
"""Most rows per byte of a Parquet file. Our tables have columns of times, which take bytes in every row; a file that
claims far more rows is a decompression bomb."""

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_LONG_KEY: Final = re.compile(rb"(?:[\w\"'-]+[ \t]*\.[ \t]*){%d}" % MAX_DEPTH)


def read_bytes(path: str | PathLike[str], most: int = MAX_JSON_BYTES) -> bytes:
    """Read a whole file.

    Raises
    ------
    ConfigError
        If it cannot be read or is larger than `most` bytes.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) > most:
        raise ConfigError(f"{path}: is larger than {_size(most)}, expected a smaller file")
    return data


def read_text(path: str | PathLike[str], most: int = MAX_JSON_BYTES) -> str:
    """Read a whole file of UTF-8 text; errors as for `read_bytes`, and for other encodings."""
    return _text(read_bytes(path, most), path)


@overload
def read_json(path: str | PathLike[str], *, finite: bool = True) -> Any: ...
@overload
def read_json(path: str | PathLike[str], kind: type[T]) -> T: ...
def read_json(path: str | PathLike[str], kind: Any = Any, *, finite: bool = True) -> Any:
    """Read a file that holds one JSON value, converted to `kind` if given.

    Parameters
    ----------
    finite
        Whether to refuse NaN and numbers beyond the range of doubles; otherwise the reader checks its own fields.

    Raises
    ------
    ConfigError
        If it cannot be read, is not JSON, is nested deeper than `MAX_DEPTH`, holds such a number, or is not a `kind`.
    """
    return parse_json(read_bytes(path), path, kind, finite=finite)


def parse_json(data: bytes, where: object, kind: Any = Any, *, finite: bool = True) -> Any:
    """Parse one JSON value from bytes, checked as in `read_json`; error messages start with `where`."""
    try:
        check_containers(data)
    except TraceError as error:
        raise ConfigError(f"{where}: {error.detail}") from None
    text = _text(data, where)
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite) if finite else json.loads(text)
    except RecursionError:
        raise _too_deep(where) from None
    except json.JSONDecodeError as error:
        what = f"{error.msg.lower()} at line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where}: is not JSON ({what})") from None
    except _BadNumber as error:
        raise ConfigError(f"{where}: {error}") from None
    except ValueError:  # the only remaining cause: Python's limit on the digits of an integer
        raise ConfigError(f"{where}: a number in it has too many digits to read") from None
    check_depth(value, where)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{where}: has half a character (a lone surrogate), which no text can hold") from None
    return value if kind is Any else convert(value, kind, where)


def convert(value: Any, kind: type[T], where: object) -> T:
    """Convert a JSON value to a type; raise a `ConfigError` that starts with `where` if it does not match."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ConfigError(f"{where}: is not of this version: {_first_lower(str(error))}") from None


def read_toml(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a user's TOML file.

    Raises
    ------
    ConfigError
        If it cannot be read, is not TOML, or is larger or nested deeper than anything written by hand.
    """
    return parse_toml(read_bytes(path, MAX_TOML_BYTES), path)


def parse_toml(data: bytes, where: object) -> dict[str, Any]:
    """Parse TOML from bytes, checked as in `read_toml`."""
    text = _text(data, where).replace("\r\n", "\n")
    if _LONG_KEY.search(data):  # tomllib takes quadratic time for it
        raise ConfigError(f"{where}: a key in it has more than {MAX_DEPTH} parts")
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise _too_deep(where) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: is not TOML ({error})") from None
    except ValueError as error:
        what = "a number in it has too many digits to read" if "digits" in str(error) else f"is not TOML ({error})"
        raise ConfigError(f"{where}: {what}") from None
    check_depth(value, where)
    return value


def check_depth(value: object, where: object) -> None:
    """Refuse a value nested so deeply that working on it, or printing it, would fail.

    Raises
    ------
    ConfigError
        If it is nested deeper than `MAX_DEPTH`.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep(where)
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += [part for part in item.values() if isinstance(part, dict | list)]
            elif isinstance(item, list):
                inner += [part for part in item if isinstance(part, dict | list)]
        level = inner


def read_lines(path: Path, what: str, most: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield the numbered lines of a file, none longer than `most` bytes.

    Raises
    ------
    ConfigError
        If it cannot be read, or has a longer line; `what` names what a line should hold.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(most + 1):
                number += 1
                if len(line) > most:
                    raise ConfigError(f"{path}:{number}: is longer than {_size(most)}, expected {what} per line")
                yield number, line
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None


@contextmanager
def parquet_errors(path: str | PathLike[str]) -> Iterator[None]:
    """Turn Arrow's errors about a broken file into a `ConfigError` that names it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: is not a Parquet file, or broken ({reason}); make the results again") from None


def open_parquet(path: Path, layout: pa.Schema, may_miss: frozenset[str] = frozenset()) -> pq.ParquetFile:
    """Open a table and check that it has the columns and types of a layout; columns in `may_miss` may be absent.

    Raises
    ------
    ConfigError
        If it cannot be read, lacks a column, has one of another type, or claims rows that its size cannot hold.
    """
    import pyarrow.parquet as pq

    with parquet_errors(path):
        file = pq.ParquetFile(path)
        found = file.schema_arrow
        rows, size = file.metadata.num_rows, path.stat().st_size
    for field in layout:
        places = found.get_all_field_indices(field.name)
        if not places and field.name in may_miss:
            continue
        if len(places) != 1:
            raise ConfigError(f"{path}: has no column {field.name!r}, or two: it is of another version")
        kind = found.field(field.name).type
        if not kind.equals(field.type):
            raise ConfigError(f"{path}: column {field.name!r} is of type {kind}, expected {field.type}")
    if rows > MAX_ROWS_PER_BYTE * size:
        raise ConfigError(f"{path}: claims {rows:,} rows in {size:,} bytes, more than a table of results can hold")
    return file


def check_table(table: pa.Table | pa.RecordBatch, path: Path, may_lack: frozenset[str] = frozenset()) -> None:
    """Refuse values that no run writes: missing ones, times that are not finite, counts below zero, broken text.

    Parameters
    ----------
    table
        A table, or a part of it.
    may_lack
        Columns in which a value may be missing.

    Raises
    ------
    ConfigError
        Naming the file and the column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    with parquet_errors(path):
        table.validate(full=True)
        for name, column in zip(table.schema.names, table.columns, strict=True):
            if name not in may_lack and column.null_count:
                raise ConfigError(f"{path}: column {name!r} lacks a value")
            if pa.types.is_floating(column.type) and not _all(pc.is_finite(column)):
                raise ConfigError(f"{path}: column {name!r} has a value that is not a finite number")
            # Measured times may be slightly below zero.
            least = 0 if pa.types.is_integer(column.type) else -_LARGEST
            numeric = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
            if numeric and not _all(pc.and_(pc.greater_equal(column, least), pc.less_equal(column, _LARGEST))):
                raise ConfigError(f"{path}: column {name!r} has a value out of its range, expected 0 to {_LARGEST:.0e}")


def check_unique(column: pa.ChunkedArray, path: Path, name: str) -> None:
    """Refuse a column of row names in which a name appears twice."""
    import pyarrow.compute as pc

    if len(column) != pc.count_distinct(column).as_py():
        raise ConfigError(f"{path}: column {name!r} has a name twice, expected each once")


def check_most(column: pa.ChunkedArray | pa.Array, most: int, path: Path, name: str) -> None:
    """Refuse a column with a number above `most`."""
    import pyarrow.compute as pc

    if not _all(pc.less_equal(column, most)):
        raise ConfigError(f"{path}: column {name!r} has a value above {most}, which summary.json leaves no room for")


_LARGEST: Final = 10**15
"""Far above any time in seconds and any count of a run; sums of such numbers are still exact enough to draw."""


def _all(mask: Any) -> bool:
    import pyarrow.compute as pc

    return pc.all(mask).as_py() is not False  # None for no rows


class _BadNumber(Exception):
    """Raised for a number that JSON can express but a double cannot hold."""


def _no_constant(name: str) -> NoReturn:
    raise _BadNumber(f"has {name}, which is not JSON, expected a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _BadNumber(f"has the number {text[:20]}, expected one within the range of doubles")
    return value


def _text(data: bytes, where: object) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{where}: is not UTF-8 text (byte 0x{data[error.start]:02x} at position {error.start:,})"
        ) from None


def _too_deep(where: object) -> ConfigError:
    return ConfigError(f"{where}: is nested too deeply, expected at most {MAX_DEPTH} levels")


def _size(most: int) -> str:
    return f"{most >> 20} MiB"


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]
