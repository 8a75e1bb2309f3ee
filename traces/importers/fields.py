"""Values from other tools' JSON: of the right type and range, or an error that names the field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NoReturn

from continuum_sim.traces.check import MAX_SECONDS, MAX_TOKENS
from continuum_sim.traces.errors import TraceError, shown


def as_object(value: Any, place: str) -> dict[str, Any]:
    """Return ``value``, which must be an object."""
    if type(value) is not dict:
        refuse(place, value, "an object")
    return value


def as_array(value: Any, place: str) -> list[Any]:
    """Return ``value``, which must be an array."""
    if type(value) is not list:
        refuse(place, value, "an array")
    return value


def as_text(value: Any, place: str) -> str:
    """Return ``value``, which must be a non-empty string."""
    if type(value) is not str or not value:
        refuse(place, value, "a non-empty string")
    return value


def as_count(value: Any, place: str, low: int = 0) -> int:
    """Return ``value`` as an integer from ``low`` to 2**53; a whole number written as 5.0 is accepted."""
    if type(value) is float and value.is_integer() and abs(value) <= MAX_TOKENS:
        value = int(value)
    if type(value) is not int or not low <= value <= MAX_TOKENS:
        refuse(place, value, f"an integer from {low} to 2**53")
    return value


def as_seconds(value: Any, place: str, per_second: float = 1.0) -> float:
    """Return a duration in seconds; ``per_second`` is the number of its units in a second (1e3 for ms)."""
    if type(value) not in (int, float) or not 0 <= value <= MAX_SECONDS * per_second:
        refuse(place, value, f"a finite number from 0 to {MAX_SECONDS * per_second:g}")
    return float(value / per_second)


def as_time(value: Any, place: str, per_second: float = 1.0) -> float:
    """Return an instant in seconds since 1970, given as a number or in ISO 8601 (UTC if it has no zone)."""
    if type(value) in (int, float):
        if not abs(value) <= MAX_SECONDS * per_second:
            refuse(place, value, "a time")
        return float(value / per_second)
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    return refuse(place, value, "a time (ISO 8601, or seconds)")


def as_instant(value: Any, place: str) -> float:
    """Return an instant as `as_time` does; the size of a number determines whether it counts s, ms, us or ns.

    In seconds, times from 1973 to the year 5138 have 9 to 11 digits before the point; each smaller unit adds three.
    """
    per_second = 1.0
    if type(value) in (int, float):
        for limit in (1e11, 1e14, 1e17):
            if abs(value) >= limit:
                per_second *= 1e3
    return as_time(value, place, per_second)


def optional_object(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is an object, otherwise an empty one: for what only adds detail."""
    return value if type(value) is dict else {}


def optional_array(value: Any) -> list[Any]:
    """Return ``value`` if it is an array, otherwise an empty one: for what only adds detail."""
    return value if type(value) is list else []


def refuse(place: str, value: Any, expected: str) -> NoReturn:
    """Raise an error that says what is at ``place`` and what was expected."""
    found = "missing" if value is None else shown(value)
    raise TraceError(f"{place} is {found}, expected {expected}")
