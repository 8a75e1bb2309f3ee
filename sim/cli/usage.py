"""Messages about wrong options: Click's, plus the value given and the option that was probably meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

_ONE: Final = "`{command}` has no {option}: it takes one {thing}, {flag}; `compare` and `sweep` take several"
_SEVERAL: Final = "`{command}` has no {option}: it takes a list of {thing}, {flag}"
_MEANT: Final = {
    "--policies": ("policy", "--policy"),
    "--seeds": ("seed", "--seed"),
    "--rates": ("rate", "--rate"),
    "--policy": ("policies", "--policies lru,ttl"),
    "--seed": ("seeds", "--seeds 0-4"),
}
"""Option of other commands -> its subject, and the option for it here."""
_CHOICE: Final = re.compile(r"Value error, (.*) is not one of (.*?)\.?$")
_NUMBER: Final = re.compile(r"Input should be a (?:valid|finite) (integer|number)")


def usage_text(error: Any, arguments: Sequence[str]) -> str:
    """Return the line to print for one of Click's errors about a command line."""
    option = getattr(error, "option_name", None)
    if hasattr(error, "possibilities") and option and error.ctx is not None:
        return _unknown_option(option, error.ctx)
    parameter: Any = getattr(error, "param", None)
    is_option = getattr(parameter, "param_type_name", "") == "option"
    if is_option and (found := _CHOICE.match(error.message)):
        return f"{parameter.opts[0]} is {found[1]}, expected one of {found[2].replace(chr(39), '')}"
    if is_option and (found := _NUMBER.match(error.message)):
        value = value_given(arguments, parameter.opts)
        if value is not None:
            expected = {"integer": "a whole number", "number": "a number"}[found[1]]
            return f"{parameter.opts[0]} is {value!r}, expected {expected}"
    text: str = error.format_message()
    return text


def value_given(arguments: Sequence[str], flags: Sequence[str]) -> str | None:
    """Return the last value that a command line gives an option of these spellings; None if it is not given."""
    found = None
    for argument, following in pairwise([*arguments, None]):
        flag, sign, value = str(argument).partition("=")
        if flag in flags:
            found = value if sign else following
    return found


def _unknown_option(option: str, context: Any) -> str:
    from continuum_sim.names import unknown

    command = " ".join(context.command_path.split()[1:]) or context.command_path
    known = [flag for item in context.command.get_params(context) for flag in item.opts if flag.startswith("-")]
    thing, flag = _MEANT.get(option, ("", ""))
    if flag.partition(" ")[0] in known:
        words = _SEVERAL if thing.endswith("s") else _ONE
        return words.format(command=command, option=option, thing=thing, flag=flag)
    return unknown("option", option, known, of=command, remedy=f"`{context.command_path} -h` lists them")
