"""Flags that several commands share, as a dataclass; and the refusal of those that a command would not use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

import typer

from continuum_sim.cli.scenario_flags import is_given


def takes_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: a parameter whose type is a dataclass of annotated options becomes one option a field."""
    groups: dict[str, type] = {}
    parameters = []
    for item in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(item.annotation) and isinstance(item.annotation, type):
            groups[item.name] = item.annotation
            hints = get_type_hints(item.annotation, include_extras=True)
            parameters += [
                inspect.Parameter(field.name, item.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
                for field in fields(item.annotation)
            ]
        else:
            parameters.append(item.replace(kind=item.KEYWORD_ONLY))

    @wraps(command)
    def wrapper(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper


def refuse_given(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse what the command line names and this call would not use.

    Parameters
    ----------
    names
        Parameters of the command.
    why
        What stands against them, after their flags: `needs --base-url`.

    Raises
    ------
    ConfigError
        Naming every one of them that is given.
    """
    from continuum_sim.errors import ConfigError

    given = [f"--{name.replace('_', '-')}" for name in names if is_given(context, name)]
    if given:
        raise ConfigError(f"{', '.join(given)}: {why}; leave {'them' if len(given) > 1 else 'it'} out")
