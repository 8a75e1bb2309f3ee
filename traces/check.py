"""The rules a program obeys, whether read from a file, imported, generated or built by hand."""

from __future__ import annotations

from typing import Final, NoReturn

from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.traces.schema import FINISHES, STOP, Child, Program, SharedPrefix, Turn

# Beyond this, JSON readers that hold numbers as doubles (most do) would silently round a count.
MAX_TOKENS: Final = 2**53
MOST_ACCEPTED: Final = 129
"""Most tokens of a turn in a step: the drafts that vLLM can verify (`MAX_SPEC_LEN`), and one."""
# Some 30,000 years: nothing real is longer, and a simulated clock past it could not resolve a step.
MAX_SECONDS: Final = 1e12
# Sub-agents of sub-agents of ...: no agent goes half as deep, and a reader of the file must not run out of stack.
MAX_DEPTH: Final = 16
MAX_PRIORITY: Final = 10**6


_sound: Program | None = None
"""The program found sound last. It cannot change, and one that is made is written next: no need to look twice."""


class _Missing:
    """Stands for an absent field of an input line, so that the rule for that field reports it."""


MISSING: Final = _Missing()


def check_program(program: Program) -> None:
    """Check every rule of the trace format on one program.

    Raises
    ------
    TraceError
        On the first field that breaks a rule, naming it, its value and what was expected.
    """
    global _sound
    if program is _sound:
        return
    try:
        _check_program(program, 0)
        if program.children:
            _check_names(program)
    except TraceError as error:
        raise TraceError(error.detail, program_id=program.program_id) from None
    _sound = program


def _check_program(program: Program, depth: int) -> None:
    _check_name("program_id", program.program_id)
    if not isinstance(program.turns, tuple):
        _refuse("turns", program.turns, "a tuple of turns")
    if not program.turns:
        raise TraceError("turns is empty, expected at least one turn")
    if program.arrival_s is not None:
        _check_seconds("arrival_s", program.arrival_s)
    if not _is_count(program.priority, -MAX_PRIORITY, MAX_PRIORITY):
        _refuse("priority", program.priority, f"an integer from -{MAX_PRIORITY} to {MAX_PRIORITY}")
    _check_turns(program.turns)
    if program.shared_prefix is not None:
        _check_shared_prefix(program.shared_prefix, program.turns[0])
    if not isinstance(program.children, tuple):
        _refuse("children", program.children, "a tuple of sub-agents")
    if program.children and depth == MAX_DEPTH:
        raise TraceError(f"children is nested too deeply, expected at most {MAX_DEPTH} levels of sub-agents")
    for index, child in enumerate(program.children):
        try:
            _check_child(child, len(program.turns) - 1, depth)
        except TraceError as error:
            raise TraceError(f"children[{index}].{error.detail}") from None


def _check_child(child: Child, last: int, depth: int) -> None:
    if not _is_count(child.after_turn, 0, last):
        _refuse("after_turn", child.after_turn, f"an integer from 0 to {last} (its parent's last turn)")
    if child.join_turn is not None and not _is_count(child.join_turn, child.after_turn + 1, last):
        if child.after_turn == last:
            expected = "null (no turn of its parent comes after the one that starts it: its parent's end waits)"
        else:
            expected = f"a turn after the one that starts it, from {child.after_turn + 1} to {last}, or null"
        _refuse("join_turn", child.join_turn, expected)
    try:
        if child.program.arrival_s is not None:
            _refuse("arrival_s", child.program.arrival_s, "none: a sub-agent starts when its parent's turn ends")
        _check_program(child.program, depth + 1)
    except TraceError as error:
        raise TraceError(f"program.{error.detail}") from None


def _check_names(root: Program) -> None:
    seen: set[str] = set()
    for member in root.family():
        if member.program_id in seen:
            raise TraceError(
                f"program_id {shown(member.program_id)} appears twice among it and its sub-agents, expected unique ids"
            )
        seen.add(member.program_id)


def _check_turns(turns: tuple[Turn, ...]) -> None:
    left_tokens = 0
    last = len(turns) - 1
    for index, turn in enumerate(turns):
        try:
            left_tokens = _check_tokens(turn, left_tokens)
            if index < last:
                _check_tool(turn)
            else:
                _check_no_tool(turn)
        except TraceError as error:
            raise TraceError(f"turns[{index}].{error.detail}") from None


def _check_tokens(turn: Turn, left_tokens: int) -> int:
    """Check a turn's counts, given the tokens that the turn before left behind; return what this turn leaves.

    `_is_count` is written out here: this runs for every turn of every trace, and the calls would take most of the time.
    """
    prompt, kept, output = turn.input_tokens, turn.kept_tokens, turn.output_tokens
    if type(prompt) is not int or not 1 <= prompt <= MAX_TOKENS:
        _refuse("input_tokens", prompt, "an integer from 1 to 2**53")
    if type(output) is not int or not 1 <= output <= MAX_TOKENS:
        _refuse("output_tokens", output, "an integer from 1 to 2**53")
    if turn.finish != STOP and turn.finish not in FINISHES:
        _refuse("finish", turn.finish, f"one of {', '.join(FINISHES)}")
    length = turn.mean_acceptance_length
    if length is not None and not (type(length) is float and 1.0 <= length <= MOST_ACCEPTED):
        _refuse("mean_acceptance_length", length, f"a number from 1 to {MOST_ACCEPTED}")
    if type(kept) is not int or not 0 <= kept <= left_tokens or kept > prompt:
        _refuse("kept_tokens", kept, _keepable(prompt, left_tokens))
    return prompt + output


def _keepable(input_tokens: int, left_tokens: int) -> str:
    if left_tokens == 0:
        return "0 (nothing comes before the first turn)"
    if left_tokens <= input_tokens:
        return f"an integer from 0 to {left_tokens} (the previous turn's prompt + output)"
    return f"an integer from 0 to {input_tokens} (this turn's input_tokens)"


def _check_tool(turn: Turn) -> None:
    if turn.tool is None:
        _refuse("tool", None, "the name of what fills the gap (null is for the last turn)")
    _check_name("tool", turn.tool)
    _check_seconds("tool_s", turn.tool_s)
    if turn.tools != ():
        _check_calls(turn)


def _check_no_tool(turn: Turn) -> None:
    if turn.tool is not None:
        _refuse("tool", turn.tool, "null (no tool follows the last turn)")
    if isinstance(turn.tool_s, bool) or turn.tool_s != 0:
        _refuse("tool_s", turn.tool_s, "0 (no tool follows the last turn)")
    if turn.tools != ():
        _refuse("tools", turn.tools, "none (no tool follows the last turn)")


def _check_calls(turn: Turn) -> None:
    if not isinstance(turn.tools, tuple):
        _refuse("tools", turn.tools, "a tuple of tool calls")
    for number, call in enumerate(turn.tools):
        _check_name(f"tools[{number}].tool", call.tool)
        _check_seconds(f"tools[{number}].tool_s", call.tool_s)
    longest_s = max(call.tool_s for call in turn.tools)
    if turn.tool_s != longest_s:
        _refuse("tool_s", turn.tool_s, f"{longest_s:g}, the longest of its tools")


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
    if type(value) not in (int, float) or not 0 <= value <= MAX_SECONDS:  # type: ignore[operator]
        _refuse(field, value, f"a finite number of seconds from 0 to {MAX_SECONDS:g}")


def _is_count(value: object, low: int, high: int) -> bool:
    # type(), not isinstance(): True is an int to Python, and NumPy's integers do not go into JSON.
    return type(value) is int and low <= value <= high


def _refuse(field: str, value: object, expected: str) -> NoReturn:
    found = "missing" if value is MISSING else shown(value)
    raise TraceError(f"{field} is {found}, expected {expected}")
