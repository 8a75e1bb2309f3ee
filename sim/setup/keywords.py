"""Run settings as keyword arguments of the library's functions: check their names and document them for `help`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from continuum_sim.errors import ConfigError
from continuum_sim.names import unknown
from continuum_sim.setup.run_config import RunConfig, run_settings

P = ParamSpec("P")
R = TypeVar("R")


def documented(settings: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that takes a typed dictionary of settings so that `help`, `inspect` and notebooks show them.

    The docstring gains their meaning, and the signature their defaults in place of `**`.
    """

    def decorate(door: Callable[P, R]) -> Callable[P, R]:
        taken = [item for name, item in run_settings().items() if name in settings.__optional_keys__]
        lines = ["Settings", "--------"]
        for item in taken:
            default = "" if item.default is None else f" = {item.default!r}"
            lines += [f"{item.name} : {item.annotation}{default}", f"    {item.help}"]
        door.__doc__ = "\n".join([inspect.cleandoc(door.__doc__ or ""), "", *lines, ""])
        signature = inspect.signature(door)
        own = [item for item in signature.parameters.values() if item.kind != item.VAR_KEYWORD]
        more = [
            inspect.Parameter(
                item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=item.annotation
            )
            for item in taken
        ]
        door.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return door

    return decorate


def named(door: Callable[..., Any], settings: Any, /, **given: Any) -> dict[str, Any]:
    """Return the keyword arguments given to `door` after checking their names.

    Raises
    ------
    ConfigError
        For a name that is not a key of the typed dictionary `settings`, with the nearest key.
    """
    for name in given:
        if name not in settings.__optional_keys__:
            what, known = door.__name__, inspect.signature(door).parameters
            raise ConfigError(unknown("setting", name, known, of=what, remedy=f"help({what}) lists them"))
    if TYPE_CHECKING:
        RunConfig(**given)  # shows the settings to editors that do not follow `Unpack`
    return given
