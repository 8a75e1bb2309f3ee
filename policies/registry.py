"""Names of planes and presets.

Each file in `rules/` registers what it defines; nothing else has to be edited. Other packages add theirs through the
entry-point group `continuum_sim.policies`, which names modules that register on import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, TypeVar

from continuum_sim.names import Registry, check_names, ran_again
from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.planes import Admission, Order, Policy, Retention, Routing

Plane = TypeVar("Plane", bound=type)

POLICY_ENTRY_POINTS: Final = "continuum_sim.policies"
"""Entry-point group through which other packages register policies; each names a module to import."""

ORDERS: Registry[type[Order]] = Registry("order", error=PolicyError)
RETENTIONS: Registry[type[Retention]] = Registry("retention", error=PolicyError)
ADMISSIONS: Registry[type[Admission]] = Registry("admission", error=PolicyError)
ROUTINGS: Registry[type[Routing]] = Registry("router", error=PolicyError)
PLANES: Mapping[str, Registry[Any]] = {
    "order": ORDERS,
    "retention": RETENTIONS,
    "admission": ADMISSIONS,
    "routing": ROUTINGS,
}
BASES: Mapping[str, type] = {"order": Order, "retention": Retention, "admission": Admission, "routing": Routing}
"""Base class of the rules of each plane."""


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
        """Classes of its planes, without routing if that is left to the cluster."""
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
        known = (p.name for p in self.parameters)
        check_names(settings, known, "parameter", of=f"policy {self.name}", error=PolicyError)
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


def _same_planes(old: Preset, new: Preset) -> bool:
    """Return whether a notebook cell that makes a preset ran again: both have the same plane defined there."""
    return any(ran_again(getattr(old, plane), getattr(new, plane)) for plane in PLANES)


PRESETS: Registry[Preset] = Registry("policy", error=PolicyError, group=POLICY_ENTRY_POINTS, again=_same_planes)


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
    PRESETS.add(preset.name, preset)
    return preset


def find_preset(name: str) -> Preset:
    """Look up a preset; the error for an unknown name suggests the nearest one."""
    return PRESETS.find(name)


def load_plugins() -> None:
    """Import the policies that other packages register, once."""
    PRESETS.load()


def find_plane(plane: str, name: str) -> type:
    """Look up one rule of one plane, e.g. `find_plane("retention", "ttl-static")`."""
    check_names([plane], PLANES, "plane", error=PolicyError)
    load_plugins()
    found: type = PLANES[plane].find(name)
    return found


def make_plane(cls: type, settings: Mapping[str, Any]) -> Any:
    """Build a plane from those of `settings` that are its parameters."""
    own = {f.name for f in fields(cls)}
    return cls(**{key: value for key, value in settings.items() if key in own})


def _register(table: Registry[Any], name: str) -> Callable[[Plane], Plane]:
    def add(cls: Plane) -> Plane:
        table.add(name, cls)
        return cls

    return add
