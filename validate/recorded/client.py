"""What load generators write down, as the client saw it: checked in the same way for every format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapreplace
from pathlib import Path
from typing import Any, Final

from continuum_sim.traces.check import MAX_SECONDS
from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded.fields import Fields
from continuum_sim.validate.recorded.log import EngineSetup, Provenance, RecordedLog, RecordedRequest, in_order

_DEPTH: Final = 4
"""Levels of nested objects whose fields get a name; deeper ones are of no use here."""


def flattened(values: Mapping[str, Any], depth: int = _DEPTH) -> dict[str, Any]:
    """Return the fields of an object and of those within it, under names with dots."""
    flat = dict(values)
    for name, value in values.items():
        if isinstance(value, dict) and depth > 1:
            flat |= {f"{name}.{inner}": one for inner, one in flattened(value, depth - 1).items()}
    return flat


def seconds_of(fields: Fields, name: str, per_s: float = 1.0) -> float:
    """Return a field in s that counts in units of which a second has `per_s`."""
    value = fields.values.get(name)
    # Compared before the division, which would fail for an integer of hundreds of digits.
    if type(value) not in (int, float) or not abs(value) <= MAX_SECONDS * per_s:  # type: ignore[arg-type]
        fields.refuse(name, value, "a finite number")
    return float(value / per_s)  # type: ignore[operator]


def first_of(fields: Fields, *names: str) -> str:
    """Return the first of several names of the same field that is present; the last one if none is."""
    return next((name for name in names if name in fields), names[-1])


def seen_request(
    fields: Fields,
    request_id: str,
    tokens: tuple[str, str],
    times_s: tuple[float, float, float],
    places: tuple[str, str],
) -> RecordedRequest:
    """Check one request and return it.

    Parameters
    ----------
    tokens
        Names of the fields of its input and output tokens.
    times_s
        When it was sent, when its first and when its last token arrived, all on one clock, in seconds.
    places
        Names of the fields that the last two come from.
    """
    arrival_s, first_s, last_s = times_s
    output_tokens = fields.tokens(tokens[1])
    if first_s <= arrival_s:
        fields.refuse(places[0], fields.values.get(places[0]), "a first token after the request was sent: stream it")
    if last_s < first_s or (output_tokens > 1 and last_s == first_s):
        fields.refuse(places[1], fields.values.get(places[1]), "a last token after the first: stream the answers")
    return RecordedRequest(request_id, arrival_s, fields.tokens(tokens[0]), output_tokens, first_s, last_s)


def closed_loop(workers: int) -> str:
    """Return the note of a log whose client always had as many requests under way."""
    return (
        f"recorded in a closed loop of {workers} requests, and simulated in one: the next request is sent when the "
        "simulated engine has answered another"
    )


def sent_in_turn(durations_s: Iterable[float], workers: int) -> list[float]:
    """Return when a closed loop sent each request, in order, from how long each took."""
    free_s = [0.0] * workers
    sent_s = []
    for duration_s in durations_s:
        sent_s.append(free_s[0])
        heapreplace(free_s, free_s[0] + duration_s)
    return sent_s


def client_log(
    path: Path,
    format: str,
    requests: Iterable[RecordedRequest],
    *,
    failed: int,
    model: str | None = None,
    max_concurrency: int | None = None,
    notes: Iterable[str] = (),
) -> RecordedLog:
    """Return the log of a client that wrote down when it sent each request and received its tokens.

    Raises
    ------
    TraceError
        If no request succeeded.
    """
    kept = tuple(requests)
    if failed and not kept:
        raise TraceError(f"all {failed} requests failed", path=path)
    said = []
    if failed:
        count = failed + len(kept)
        said.append(f"{failed} of {count} requests failed and are left out; what the engine did for them is unknown")
    return RecordedLog(
        path=path,
        format=format,
        requests=in_order(path, kept),
        max_concurrency=max_concurrency,
        provenance=Provenance(
            measured=(
                "input and output tokens",
                "arrivals: when the client sent the request",
                "first and last token: as the client received them, with HTTP, tokenising and detokenising",
            ),
            derived=("end to end, TTFT, TPOT: from the above",),
            missing=("queue wait", "engine settings", "prompts: none is taken to share a prefix with another"),
        ),
        setup=EngineSetup(source=path, model=model),
        notes=(*said, *notes),
    )
