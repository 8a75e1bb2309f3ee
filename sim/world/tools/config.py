"""Settings of tools, each for all tools or per tool."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from continuum_sim.errors import ConfigError

if TYPE_CHECKING:
    from continuum_sim.setup.setting_types import PerToolSetting

N = TypeVar("N", int, float)

OTHERS: Final = "*"
"""Name that stands for the tools without a setting of their own."""


@dataclass(frozen=True)
class PerTool(Generic[N]):
    """A number for every tool."""

    others: N
    """Number of the tools without one of their own."""
    named: Mapping[str, N] = field(default_factory=dict)
    """Tool -> its own number."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", MappingProxyType(dict(self.named)))

    def __reduce__(self) -> tuple[Any, ...]:
        return PerTool, (self.others, dict(self.named))  # a mapping proxy cannot be pickled

    def of(self, tool: str) -> N:
        """Return the number of one tool."""
        return self.named.get(tool, self.others)

    def values(self) -> list[N]:
        """Return all the numbers."""
        numbers = list(self.named.values())
        numbers.append(self.others)
        return numbers

    def describe(self) -> str | None:
        """Return the numbers in the notation of the command line; None if there is no bound at all."""
        every = {**self.named, OTHERS: self.others}
        bounds = [f"{tool}:{number:g}" for tool, number in every.items() if not math.isinf(number)]
        return ",".join(bounds) or None if self.named else next((f"{self.others:g}" for _ in bounds), None)


@dataclass(frozen=True)
class ToolConfig:
    """How tools are run; by default each call starts at once, takes the time in the trace, and succeeds."""

    workers: PerTool[float] = PerTool(math.inf)
    """Most calls that run at once. A tool with its own number has its own workers; all others share theirs."""
    timeout_s: PerTool[float] = PerTool(math.inf)
    """Seconds after which a try is cut short. All tries of a call take equally long, so it times out on every try."""
    failure_rate: PerTool[float] = PerTool(0.0)
    """Probability that a try that was not cut short fails; it still takes its whole time."""
    retries: PerTool[int] = PerTool(1)
    """How often a call that timed out or failed is tried again before the program goes on without it."""

    @property
    def plain(self) -> bool:
        """Whether every gap lasts as long as in the trace."""
        return not self.bounded and not self.may_retry

    @property
    def bounded(self) -> bool:
        """Whether a call may have to wait for a worker."""
        return any(number < math.inf for number in self.workers.values())

    @property
    def may_retry(self) -> bool:
        """Whether a call may take anything other than one try of its whole length."""
        return any(cut_s < math.inf for cut_s in self.timeout_s.values()) or any(self.failure_rate.values())

    def describe(self) -> dict[str, Any]:
        """Return the settings in the notation of the command line, for JSON; None means no bound."""
        return {
            "tool_workers": self.workers.describe(),
            "tool_timeout": self.timeout_s.describe(),
            "tool_failure_rate": self.failure_rate.describe(),
            "tool_retries": self.retries.describe(),
        }


def make_tool_config(
    workers: PerToolSetting = None,
    timeout: PerToolSetting = None,
    failure_rate: PerToolSetting = None,
    retries: PerToolSetting = None,
) -> ToolConfig:
    """Read the settings of the command line or of a caller.

    Raises
    ------
    ConfigError
        Naming the setting and the tool whose value is not a number, or out of range.
    """
    default = ToolConfig()
    return ToolConfig(
        workers=_per_tool("tool_workers", workers, default.workers, _at_least_one, "a whole number of at least 1"),
        timeout_s=_per_tool("tool_timeout", timeout, default.timeout_s, _above_zero, "seconds above 0"),
        failure_rate=_per_tool(
            "tool_failure_rate", failure_rate, default.failure_rate, _probability, "a probability from 0 to 1"
        ),
        retries=_per_tool("tool_retries", retries, default.retries, _whole, "a whole number from 0 to 1000"),
    )


def _per_tool(
    name: str, setting: PerToolSetting, default: PerTool[N], check: Callable[[object], N | None], expected: str
) -> PerTool[N]:
    if setting is None:
        return default
    found: dict[str, N] = {}
    for tool, given in _items(name, setting, expected):
        number = check(given)
        if number is None:
            whose = "" if tool == OTHERS else f" of tool {tool!r}"
            raise ConfigError(f"{name}{whose} is {given!r}, expected {expected}")
        if tool in found:
            raise ConfigError(f"{name} names tool {tool!r} twice, expected each once")
        found[tool] = number
    return PerTool(found.pop(OTHERS, default.others), found)


def _items(name: str, setting: PerToolSetting, expected: str) -> list[tuple[str, object]]:
    if isinstance(setting, Mapping):
        return [(str(tool), number) for tool, number in setting.items()]
    if not isinstance(setting, str):
        return [(OTHERS, setting)]
    parts = [part.strip() for part in setting.split(",")]
    if len(parts) == 1 and ":" not in setting:
        return [(OTHERS, parts[0])]
    items: list[tuple[str, object]] = []
    for part in parts:
        tool, colon, number = part.rpartition(":")  # the last colon: a tool may have some in its name
        if not colon or not tool.strip():
            raise ConfigError(f"{name} {setting!r}: {part!r} is not TOOL:NUMBER ({expected}), as in bash:4,*:16")
        items.append((tool.strip(), number.strip()))
    return items


def _number(given: object) -> float | None:
    """Return a finite number, or None."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(given: object) -> int | None:
    number = _number(given)
    return int(number) if number is not None and number == int(number) and 0 <= number <= 1000 else None


def _at_least_one(given: object) -> float | None:
    number = _number(given)
    return number if number is not None and number == int(number) and number >= 1 else None


def _above_zero(given: object) -> float | None:
    number = _number(given)
    return number if number is not None and number > 0 else None


def _probability(given: object) -> float | None:
    number = _number(given)
    return number if number is not None and 0 <= number <= 1 else None
