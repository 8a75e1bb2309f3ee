"""Search space of a policy's parameters: ranges and choices, given or taken from the policy's fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from continuum_sim.errors import ConfigError
from continuum_sim.names import check_names
from continuum_sim.policies import Preset

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_DIGITS = 4
"""Significant digits of the numbers tried: more would make no difference and be hard to read."""


@dataclass(frozen=True)
class Span:
    """Numbers between two bounds, on a linear or logarithmic scale."""

    low: float
    high: float
    log: bool
    whole: bool

    @property
    def distribution(self) -> BaseDistribution:
        """The range as an Optuna distribution."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, suggested: float) -> float:
        """Return the number to try: rounded, within the bounds."""
        if self.whole:
            return int(suggested)
        return min(max(float(f"{suggested:.{_DIGITS}g}"), self.low), self.high)

    def holds(self, value: object) -> bool:
        """Return True if a value lies in the range."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}" + (":log" if self.log else "")


@dataclass(frozen=True)
class Choice:
    """A choice between values."""

    values: tuple[Any, ...]

    @property
    def distribution(self) -> BaseDistribution:
        """The choice as an Optuna distribution."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def value(self, suggested: Any) -> Any:
        """Return the value to try."""
        return suggested

    def holds(self, value: object) -> bool:
        """Return True if a value is one of the choices."""
        return value in self.values

    def __str__(self) -> str:
        return "|".join(map(str, self.values))


Space = Mapping[str, Span | Choice]


def search_space(preset: Preset, asked: Mapping[str, str | None], fixed: Mapping[str, Any]) -> Space:
    """Return the range or choice of each parameter to search.

    Parameters
    ----------
    asked
        Parameter -> `LOW:HIGH`, `LOW:HIGH:log` or `a|b|c`; None takes the range that its plane states as `search` in
        the field's metadata (choices and booleans need none). Empty for all parameters that have one.
    fixed
        Parameters that were given a value and keep it.

    Raises
    ------
    ConfigError
        For a parameter that is unknown, fixed, or has no range, and for a range that makes no sense.
    """
    own = _fields(preset)
    check_names([*asked, *fixed], own, "parameter", of=f"policy {preset.name}", error=ConfigError)
    if both := [name for name in asked if name in fixed]:
        raise ConfigError(f"parameter {both[0]} is fixed in the policy and asked for; leave one of them out")
    chosen = asked or {name: None for name in own if name not in fixed and _own_range(*own[name]) is not None}
    space = {}
    for name, text in chosen.items():
        hint, metadata = own[name]
        found = _own_range(hint, metadata) if text is None else _read(name, text, hint)
        if found is None:
            raise ConfigError(f"parameter {name} of {preset.name} states no range: give one, as in {name}=0.1:10:log")
        space[name] = found
    if not space:
        known = ", ".join(own) or "none"
        raise ConfigError(f"policy {preset.name} has no parameter to tune that states a range (it has: {known})")
    return space


def default_values(preset: Preset) -> dict[str, Any]:
    """Return every parameter's default."""
    planes = (preset.order, preset.retention, preset.admission)
    found: dict[str, Any] = {}
    for plane in planes:
        for item in fields(plane):
            if item.default is not MISSING:
                found.setdefault(item.name, item.default)
    return found


def _fields(preset: Preset) -> dict[str, tuple[Any, Mapping[Any, Any]]]:
    found: dict[str, tuple[Any, Mapping[Any, Any]]] = {}
    for plane in (preset.order, preset.retention, preset.admission):
        hints = get_type_hints(plane)
        for item in fields(plane):
            found.setdefault(item.name, (hints[item.name], item.metadata))
    return found


def _own_range(hint: Any, metadata: Mapping[Any, Any]) -> Span | Choice | None:
    if get_origin(hint) is Literal:
        return Choice(get_args(hint))
    if hint is bool:
        return Choice((False, True))
    text = metadata.get("search")
    return None if text is None else _read("search", text, hint)


def _read(name: str, text: str, hint: Any) -> Span | Choice:
    kinds = get_args(hint) or (hint,)
    if ":" not in text:
        return Choice(tuple(_choice(name, part.strip(), hint) for part in text.split("|")))
    parts = [part.strip() for part in text.split(":")]
    try:
        low, high = float(parts[0]), float(parts[1])
        log = parts[2:] == ["log"]
        sound = (log or not parts[2:]) and math.isfinite(low) and math.isfinite(high) and low < high
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(f"parameter {name}: range {text!r} is not LOW:HIGH or LOW:HIGH:log with LOW below HIGH")
    if not {int, float} & set(kinds):
        raise ConfigError(f"parameter {name} takes no numbers: give its choices, as in {name}=a|b")
    whole = int in kinds and float not in kinds
    if (log and low <= 0) or (whole and not (low.is_integer() and high.is_integer())):
        raise ConfigError(f"parameter {name}: range {text!r} needs {'whole bounds' if whole else 'LOW above 0'}")
    return Span(low, high, log, whole)


def _choice(name: str, text: str, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ConfigError(f"parameter {name}: {text!r} is not one of {', '.join(map(str, get_args(hint)))}")
        return text
    kinds = get_args(hint) or (hint,)
    if bool in kinds:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"parameter {name}: {text!r} is neither true nor false")
        return text.lower() == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                raise ConfigError(f"parameter {name}: {text!r} is not a valid {kind.__name__}") from None
    return text
