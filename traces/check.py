"""The rules a program obeys, whether read from a file, imported, generated or built by hand."""

from __future__ import annotations

from typing import Final, NoReturn, cast

from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.traces.schema import Program, SharedPrefix, Turn

# Beyond it JSON readers that hold numbers as doubles (most do) would silently round a count.
MAX_TOKENS: Final = 2**53
# Some 30,000 years: nothing real is longer, and a simulated clock past it could not resolve a step.
MAX_SECONDS: Final = 1e12


class _Missing:
    """Stands where a field of an input line is absent, so that the rule for that field reports it."""


MISSING: Final = _Missing()


def check_program(program: Program) -> None:
    """Check every rule of the trace format on one program.

    Raises
    ------
    TraceError
        On the first field that breaks a rule, naming it, its value and what was expected.
    """
    try:
        _check_program(program)
    except TraceError as error:
        raise TraceError(error.detail, program_id=program.program_id) from None


def _check_program(program: Program) -> None:
    _check_name("program_id", program.program_id)
    if not isinstance(program.turns, tuple):
        _refuse("turns", program.turns, "a tuple of turns")
    if not program.turns:
        raise TraceError("turns is empty, expected at least one turn")
    if program.arrival_s is not None:
        _check_seconds("arrival_s", program.arrival_s)
    left_tokens = 0
    last = len(program.turns) - 1
    for index, turn in enumerate(program.turns):
        _check_tokens(turn, index, left_tokens)
        _check_tool(turn, index, is_last=index == last)
        left_tokens = turn.context_tokens
    if program.shared_prefix is not None:
        _check_shared_prefix(program.shared_prefix, program.turns[0])


def _check_tokens(turn: Turn, index: int, left_tokens: int) -> None:
    if not _is_count(turn.input_tokens, 1, MAX_TOKENS):
        _refuse(f"turns[{index}].input_tokens", turn.input_tokens, "an integer from 1 to 2**53")
    if not _is_count(turn.output_tokens, 1, MAX_TOKENS):
        _refuse(f"turns[{index}].output_tokens", turn.output_tokens, "an integer from 1 to 2**53")
    keepable_tokens = min(turn.input_tokens, left_tokens)
    if not _is_count(turn.kept_tokens, 0, keepable_tokens):
        _refuse(f"turns[{index}].kept_tokens", turn.kept_tokens, _keepable(index, turn, left_tokens))


def _keepable(index: int, turn: Turn, left_tokens: int) -> str:
    if index == 0:
        return "0 (nothing comes before the first turn)"
    if left_tokens <= turn.input_tokens:
        return f"an integer from 0 to {left_tokens} (the previous turn's prompt + output)"
    return f"an integer from 0 to {turn.input_tokens} (this turn's input_tokens)"


def _check_tool(turn: Turn, index: int, *, is_last: bool) -> None:
    if is_last:
        if turn.tool is not None:
            _refuse(f"turns[{index}].tool", turn.tool, "null (no tool follows the last turn)")
        if isinstance(turn.tool_s, bool) or turn.tool_s != 0:
            _refuse(f"turns[{index}].tool_s", turn.tool_s, "0 (no tool follows the last turn)")
    else:
        if turn.tool is None:
            _refuse(f"turns[{index}].tool", None, "the name of what fills the gap (null is for the last turn)")
        _check_name(f"turns[{index}].tool", turn.tool)
        _check_seconds(f"turns[{index}].tool_s", turn.tool_s)


def _check_shared_prefix(prefix: SharedPrefix, first: Turn) -> None:
    _check_name("shared_prefix.id", prefix.id)
    if not _is_count(prefix.tokens, 1, first.input_tokens):
        expected = f"an integer from 1 to {first.input_tokens} (the first turn's input_tokens)"
        _refuse("shared_prefix.tokens", prefix.tokens, expected)


def _check_name(field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        _refuse(field, value, "a non-empty string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate: JSON can spell it, no file can hold it
            _refuse(field, value, "a string of valid Unicode")


def _check_seconds(field: str, value: object) -> None:
    if type(value) not in (int, float) or not 0 <= cast(float, value) <= MAX_SECONDS:
        _refuse(field, value, f"a finite number of seconds from 0 to {MAX_SECONDS:g}")


def _is_count(value: object, low: int, high: int) -> bool:
    # type(), not isinstance(): True is an int to Python, and NumPy's integers do not go into JSON.
    return type(value) is int and low <= value <= high


def _refuse(field: str, value: object, expected: str) -> NoReturn:
    found = "missing" if value is MISSING else shown(value)
    raise TraceError(f"{field} is {found}, expected {expected}")
