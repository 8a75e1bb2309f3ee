"""Metadata of `RunConfig`'s fields, from which flags, signatures, sweep axes and docs tables are derived."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

from continuum_sim.names import names_in_source

T = TypeVar("T")

LOAD: Final = "Load"
ENGINE: Final = "Engine"
TOOLS: Final = "Tools"
CLIENTS: Final = "Clients"
_ABOUT: Final = "about"
_LISTED: Final = {
    "router": ("continuum_sim.policies", "register_routing", "rules/*.py"),
    "step_time": ("continuum_sim.steptime", "StepTimeKind", "*.py"),
}
"""Kind of name -> the package, call and files that define such names, so that help texts can list them."""


@dataclass(frozen=True)
class About:
    """What a setting declares about itself; see `setting` for the fields."""

    help: str
    panel: str
    unset: str
    page: str
    names: str
    flags: tuple[str, ...]
    needs: tuple[str, ...]
    least: float | None
    most: float
    expected: str
    positive: bool
    switches: Mapping[str, str]
    rare: bool
    either: str


@dataclass(frozen=True)
class Kind:
    """The values that a setting takes, as far as text can express them."""

    types: tuple[type, ...]
    """Those of `bool`, `int`, `float` and `str` that text is parsed as."""
    optional: bool
    """Whether None (`none` in text) is a value."""
    choices: tuple[str, ...] = ()
    """All allowed values, if the setting is a choice between words."""

    @property
    def arrow(self) -> str:
        """Arrow type of the setting's column in a table of results."""
        if self.types == (bool,):
            return "bool"
        if self.types == (int,):
            return "int64"
        return "float64" if self.types and set(self.types) <= {int, float} else "string"


@dataclass(frozen=True)
class Setting:
    """One setting of a run."""

    name: str
    annotation: str
    """Its type as written in the source."""
    kind: Kind
    default: Any
    about: About

    @property
    def flag(self) -> str:
        """Its flag on the command line; all of them, joined by `/`, if its values have flags of their own.

        Of a setting that is on or off, the flag that changes the default.
        """
        if self.is_switch:
            return next(flag for flag, value in self.switches.items() if value is not self.default)
        return "/".join(self.switches) or f"--{self.name.replace('_', '-')}"

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.kind.types == (bool,)

    @property
    def declared(self) -> str:
        """Its flag as declared where it is a parameter of its own."""
        return "/".join(self.switches) if self.is_switch else self.flag

    @property
    def listed(self) -> list[str]:
        """Its flags as the docs list them."""
        return list(self.switches) if self.switches and not self.is_switch else [self.flag]

    @property
    def switches(self) -> dict[str, Any]:
        """Flags without an argument -> the value each stands for, if any: `--drop-unfit` -> `drop`."""
        if self.is_switch:
            name = self.name.replace("_", "-")
            return {f"--{name}": True, f"--no-{name}": False}
        return {f"--{value}-{self.name}".replace("_", "-"): value for value in self.about.switches}

    @property
    def help(self) -> str:
        """Help text, with the names there are and, if the default is None, what that means."""
        text = self.about.help
        if self.about.names in _LISTED:
            text = f"{text.removesuffix('.')}: {', '.join(names_in_source(*_LISTED[self.about.names]))}."
        return f"{text} Default: {self.about.unset}." if self.about.unset else text


def setting(
    default: T,
    help: str,
    panel: str = "",
    *,
    unset: str = "",
    page: str = "",
    names: str = "",
    flags: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
    least: float | None = None,
    most: float = float("inf"),
    expected: str = "",
    positive: bool = False,
    switches: Mapping[str, str] = MappingProxyType({}),
    rare: bool = False,
    either: str = "",
) -> T:
    """Declare a setting as a field of a dataclass.

    Parameters
    ----------
    default
        Value if none is given.
    help
        One sentence with a full stop; `Setting.help` adds the names there are.
    panel
        `LOAD`, `ENGINE`, `TOOLS` or `CLIENTS`; empty if each command declares the flag itself.
    unset
        What the default None stands for.
    page
        Page of `docs/` that says more.
    names
        Kind of names that its values are (see `continuum_sim.cli.complete`), for completion.
    flags
        Other spellings of its flag.
    needs
        Settings of which at least one must be given for this one to have an effect.
    least, most
        Bounds of a number; without `least` nothing is checked.
    expected
        For the error about a number that is not whole: what was expected; by default at least `least`.
    positive
        Whether 0 is refused although it is `least`.
    switches
        Values that have a flag of their own, `--drop-unfit` for `drop`, and the help text of each flag.
    rare
        Whether the help text of commands leaves it to the docs.
    either
        Of a setting that is on or off: help text of both its flags, for commands with another default.
    """
    about = About(
        help, panel, unset, page, names, flags, needs, least, most, expected, positive, switches, rare, either
    )
    return field(default=default, metadata={_ABOUT: about})


def settings_of(owner: type) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, `InitVar`s included, in their order."""
    names = vars(sys.modules[owner.__module__])
    declared: Mapping[str, Any] = owner.__dataclass_fields__  # type: ignore[attr-defined]
    found = {}
    for name, item in declared.items():
        annotation = item.type.removeprefix("InitVar[").removesuffix("]") if "InitVar" in item.type else item.type
        found[name] = Setting(name, annotation, kind_of(annotation, names), item.default, item.metadata[_ABOUT])
    return found


def kind_of(annotation: str, names: Mapping[str, Any]) -> Kind:
    """Return what text can express of an annotation's type, evaluated with the given `names`.

    Names that only type checkers import evaluate to `object`, which text cannot express.
    """
    hint = _evaluated(annotation, names)
    parts = get_args(hint) if get_origin(hint) not in (None, Literal) else (hint,)
    optional = type(None) in parts
    choices = tuple(choice for part in parts if get_origin(part) is Literal for choice in get_args(part))
    parts = tuple(str if get_origin(part) is Literal else part for part in parts)
    only = choices if len(parts) - optional == 1 else ()
    return Kind(tuple(t for t in (bool, int, float, str) if t in parts), optional, only)


def _evaluated(annotation: str, names: Mapping[str, Any]) -> Any:
    code = compile(annotation, "<annotation>", "eval")
    return eval(code, {name: names.get(name, getattr(builtins, name, object)) for name in code.co_names})
