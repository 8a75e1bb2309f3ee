"""Names of planes and presets.

A file in this folder registers what it defines; nothing else has to be edited. Other packages ship theirs
through the entry point group `continuum_sim.policies` (a module that registers when imported).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.planes import Admission, Order, Policy, Retention, Routing

Plane = TypeVar("Plane", bound=type)

ORDERS: dict[str, type[Order]] = {}
RETENTIONS: dict[str, type[Retention]] = {}
ADMISSIONS: dict[str, type[Admission]] = {}
ROUTINGS: dict[str, type[Routing]] = {}
PLANES: Mapping[str, Mapping[str, type]] = {
    "order": ORDERS,
    "retention": RETENTIONS,
    "admission": ADMISSIONS,
    "routing": ROUTINGS,
}
BASES: Mapping[str, type] = {"order": Order, "retention": Retention, "admission": Admission, "routing": Routing}
"""What a rule of each plane is."""


@dataclass(frozen=True)
class Parameter:
    """One setting of a policy."""

    name: str
    type: str
    default: Any
    help: str


@dataclass(frozen=True)
class Preset:
    """A named composition of planes."""

    name: str
    rule: str
    """What it does, in one or two sentences."""
    source: str
    """Where the rule comes from."""
    order: type[Order] = Order
    retention: type[Retention] = Retention
    admission: type[Admission] = Admission
    routing: type[Routing] | None = None

    @property
    def planes(self) -> tuple[type, ...]:
        """Classes of its planes; no routing where that is left to the cluster."""
        planes: tuple[type, ...] = (self.order, self.retention, self.admission)
        return planes if self.routing is None else (*planes, self.routing)

    @property
    def parameters(self) -> list[Parameter]:
        """Settings of all planes; a name that two planes share sets both."""
        found: dict[str, Parameter] = {}
        for plane in self.planes:
            for item in fields(plane):
                default = None if item.default is MISSING else item.default
                text = str(item.metadata.get("help", ""))
                found.setdefault(item.name, Parameter(item.name, str(item.type), default, text))
        return list(found.values())

    def build(self, **settings: Any) -> Policy:
        """Make the policy.

        Raises
        ------
        PolicyError
            For a parameter that no plane has, or a value a plane refuses.
        """
        check_names(settings, (p.name for p in self.parameters), f"policy {self.name}")
        name = self.name
        if settings:
            name += ":" + ",".join(f"{key}={value}" for key, value in settings.items())
        return Policy(
            name,
            make_plane(self.order, settings),
            make_plane(self.retention, settings),
            make_plane(self.admission, settings),
            None if self.routing is None else make_plane(self.routing, settings),
        )


PRESETS: dict[str, Preset] = {}


def register_order(name: str) -> Callable[[Plane], Plane]:
    """Class decorator: make an `Order` available as `order=NAME`."""
    return _register(ORDERS, name)


def register_retention(name: str) -> Callable[[Plane], Plane]:
    """Class decorator: make a `Retention` available as `retention=NAME`."""
    return _register(RETENTIONS, name)


def register_admission(name: str) -> Callable[[Plane], Plane]:
    """Class decorator: make an `Admission` available as `admission=NAME`."""
    return _register(ADMISSIONS, name)


def register_routing(name: str) -> Callable[[Plane], Plane]:
    """Class decorator: make a `Routing` available as `routing=NAME` and `--router NAME`."""
    return _register(ROUTINGS, name)


def register_preset(preset: Preset) -> Preset:
    """Make a composition available as `--policy NAME`."""
    if preset.name in PRESETS and not _same_planes(PRESETS[preset.name], preset):
        raise PolicyError(f"policy {preset.name!r} is registered twice; give one of them another name")
    PRESETS[preset.name] = preset
    return preset


def find_preset(name: str) -> Preset:
    """Look a preset up, naming the nearest one if there is none of that name."""
    check_names([name], PRESETS, "policies", what="policy")
    return PRESETS[name]


def find_plane(plane: str, name: str) -> type:
    """Look up one rule of one plane, e.g. `find_plane("retention", "ttl-static")`."""
    check_names([plane], PLANES, "a policy", what="plane")
    check_names([name], PLANES[plane], f"the {plane} plane", what="rule")
    return PLANES[plane][name]


def make_plane(cls: type, settings: Mapping[str, Any]) -> Any:
    """Build a plane from those of `settings` that are its own."""
    own = {f.name for f in fields(cls)}
    return cls(**{key: value for key, value in settings.items() if key in own})


def check_names(given: Iterable[str], known: Iterable[str], owner: str, what: str = "parameter") -> None:
    """Refuse the first name that `known` lacks, with the nearest known one."""
    names = list(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            listed = ", ".join(sorted(names)) or "none"
            raise PolicyError(f"unknown {what} {name!r}{hint} ({owner}: {listed})")


def _register(table: dict[str, Any], name: str) -> Callable[[Plane], Plane]:
    def add(cls: Plane) -> Plane:
        if name in table and not _interactive(table[name], cls):
            raise PolicyError(f"{name!r} is registered twice; give one of them another name")
        table[name] = cls
        return cls

    return add


def _same_planes(old: Preset, new: Preset) -> bool:
    """Whether a notebook made its composition again: one of its own planes stands in both."""
    pairs = ((getattr(old, plane), getattr(new, plane)) for plane in PLANES)
    return any(_interactive(*pair) for pair in pairs)


def _interactive(old: type | None, new: type | None) -> bool:
    """Whether a notebook ran its cell again, maybe edited."""
    if old is None or new is None:
        return False
    return old.__module__ == new.__module__ == "__main__" and old.__qualname__ == new.__qualname__
