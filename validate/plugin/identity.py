"""Which program a vLLM request belongs to, and what its client says about the turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Complain = Callable[[str], None]
"""Called with one line about an unusable field; the request is served without it."""

_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "none": False, "": False}
"""JSON has booleans, but `vllm_xargs` may carry them as numbers or text."""


class TurnIdentity(NamedTuple):
    """A client's description of a request."""

    program_id: str
    tool: str | None = None
    """Tool that this turn will call, if the client knows it in advance (a replayed trace)."""
    last_turn: bool = False
    """True if the program ends with this turn, as far as the client knows in advance."""
    previous_tool: str | None = None
    """Tool whose result this turn brings, which a live agent knows."""
    kept_tokens: int | None = None
    """Most leading prompt tokens that equal the program's context, if the client says so."""
    parent: str | None = None
    """Program that started this one as a sub-agent and waits for it."""


def identify(request: Any, complain: Complain) -> TurnIdentity | None:
    """Read a request's identity; None for a request without a program, which vLLM then serves as usual.

    The program is vLLM's own `session_id` if the request has one, otherwise `program_id` in the sampling
    parameters' `extra_args` (over HTTP: `vllm_xargs`), which also hold all other fields.
    """
    params = request.sampling_params
    if params is None or request.resumable:
        return None
    extra = params.extra_args
    if not isinstance(extra, Mapping):
        extra = {}
    program = getattr(request, "session_id", None) or _text(extra, "program_id", complain)
    if not program:
        return None
    return TurnIdentity(
        program,
        _text(extra, "tool", complain),
        _flag(extra, "last_turn", complain),
        _text(extra, "previous_tool", complain),
        _count(extra, "kept_tokens", complain),
        _text(extra, "parent", complain),
    )


def _text(extra: Mapping[str, Any], key: str, complain: Complain) -> str | None:
    value = extra.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    complain(f"{key} is {value!r}, expected text; it is ignored")
    return None


def _flag(extra: Mapping[str, Any], key: str, complain: Complain) -> bool:
    value = extra.get(key)
    truth = _TRUTH.get(str(value).lower())
    if truth is None:
        complain(f"{key} is {value!r}, expected true or false; it is taken as false")
        return False
    return truth


def _count(extra: Mapping[str, Any], key: str, complain: Complain) -> int | None:
    value = extra.get(key)
    if value is None:
        return None
    try:
        tokens = int(value)
    except (TypeError, ValueError, OverflowError):
        tokens = -1
    if tokens < 0 or isinstance(value, bool):
        complain(f"{key} is {value!r}, expected a number of tokens; it is ignored")
        return None
    return tokens
