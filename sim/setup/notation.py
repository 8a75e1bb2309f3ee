"""The `name:key=value,key=value` notation of the command line, for policies, arrivals and step-time models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from continuum_sim.errors import ConfigError
from continuum_sim.names import check_names
from continuum_sim.policies import Policy, PolicyError, Preset, Routing, find_preset
from continuum_sim.policies.registry import BASES, PLANES, PRESETS, ROUTINGS, find_plane, load_plugins, make_plane
from continuum_sim.traces.arrivals import ARRIVALS, Closed, OpenArrivals
from continuum_sim.world.deployments import Deployments

T = TypeVar("T")

_PLACE = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)(?:[:,](?P<settings>.*))?")
"""`module:Class` and optional parameters, which follow a comma where a policy's planes are spelled out."""

_NUMBER = re.compile(r"[\d.]+(?:e[+-]?\d+)?")


def split_spec(text: str) -> tuple[str, dict[str, str]]:
    """Split `name:key=value,key=value` into the name and the settings, all as text.

    Raises
    ------
    ConfigError
        If a setting is not of the form key=value.
    """
    name, _, rest = text.strip().partition(":")
    settings: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, sign, value = item.partition("=")
        if not sign or not key.strip() or not value.strip():
            raise ConfigError(f"{text!r}: {item!r} is not of the form key=value, as in name:key=value,key=value")
        settings[key.strip()] = value.strip()
    return name.strip(), settings


def split_list(text: str) -> list[str]:
    """Split a comma-separated list of specs; `ttl:pressure=head,cold_start=9,lru` contains two.

    An item with `=` and no `:` before it belongs to the spec before it, and so does a plane after another plane.
    """
    specs: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        key = item.partition("=")[0]
        setting = "=" in item and ":" not in key
        if specs and setting and (key not in PLANES or _takes_plane(specs[-1], key)):
            specs[-1] += "," + item
        else:
            specs.append(item)
    return specs


def _takes_plane(spec: str, plane: str) -> bool:
    """Return True if a spec spells out its planes and does not have this one yet."""
    keys = [part.partition("=")[0] for part in spec.split(",")]
    return keys[0] in PLANES and plane not in keys


def parse_policy(text: str, *, registered_only: bool = False) -> Policy:
    """Make a policy from `ttl`, `ttl-static:ttl=2` or `order=program-fifo,retention=ttl-static:ttl=2`.

    `package.module:name` is a user's own `Preset`, `Policy`, or class of one plane. Importing it runs code, so names
    read from result files are looked up with `registered_only`, which refuses such names.

    Raises
    ------
    PolicyError, ConfigError
        For an unknown name or parameter (naming the nearest) or a value out of range.
    """
    load_plugins()
    first = text.strip().partition("=")[0]
    if "=" in text and first in PLANES:
        return _compose(text.strip(), registered_only=registered_only)
    place = _PLACE.fullmatch(text.strip())
    if place and place["module"] not in PRESETS:
        if registered_only:
            raise _not_registered(text)
        return _import_policy(text.strip(), place)
    name, settings = split_spec(text)
    preset = find_preset(name)
    return preset.build(**policy_settings(preset, settings))


def parse_arrivals(text: str) -> OpenArrivals | Closed:
    """Make an arrival process from `poisson:rate=0.1`, `burst`, `closed:workers=64` or `trace`.

    Raises
    ------
    ConfigError
        For an unknown name or parameter or a value out of range.
    """
    name, settings = split_spec(text)
    if _NUMBER.fullmatch(name):
        raise ConfigError(f"arrivals is {text!r}, expected a process as in poisson:rate={name}, or --rate {name}")
    check_names([name], ARRIVALS, "arrivals", error=ConfigError)
    process: OpenArrivals | Closed = build(ARRIVALS[name], settings, f"arrivals {name}")
    return process


def rate_of(arrivals: str) -> float | None:
    """Return the rate in `arrivals`, in programs per second; None if the process has no rate."""
    try:
        return float(split_spec(arrivals)[1]["rate"])
    except (ConfigError, KeyError, ValueError):
        return None


def build(cls: type[T], settings: Mapping[str, str], owner: str) -> T:
    """Make an instance of a dataclass from text settings, converted to the types of its fields.

    Raises
    ------
    ConfigError
        Naming the setting that is unknown, missing, of the wrong type or out of range.
    """
    own: list[Any] = list(fields(cls))  # type: ignore[arg-type]
    check_names(settings, (f.name for f in own), "parameter", of=owner, error=ConfigError)
    for item in own:
        required = item.default is MISSING and item.default_factory is MISSING
        if required and item.name not in settings:
            raise ConfigError(f"{owner} needs {item.name}=…, as in {owner.split()[-1]}:{item.name}=1")
    values = convert(cls, settings, owner)
    try:
        return cls(**values)
    except PolicyError:
        raise
    except ValueError as error:
        text = str(error).removeprefix(f"{owner.split()[-1]}: ")  # some messages already start with the name
        raise ConfigError(f"{owner}: {text}") from None


def convert(cls: type, settings: Mapping[str, str], owner: str) -> dict[str, Any]:
    """Convert text settings to the types of the fields of `cls` with the same names."""
    hints = get_type_hints(cls)
    return {key: _value(text, hints[key], key, owner) for key, text in settings.items() if key in hints}


def _value(text: str, kind: Any, key: str, owner: str) -> Any:
    kinds = get_args(kind) if get_origin(kind) not in (None,) and type(None) in get_args(kind) else (kind,)
    if len(kinds) > 1 and text.lower() == "none":
        return None
    kind = kinds[0]
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        if kind in (int, float):
            return kind(text)
    except (ValueError, KeyError):
        expected = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise ConfigError(f"{owner}: {key} is {text!r}, expected {expected}") from None
    return text


def policy_settings(preset: Preset, settings: Mapping[str, str]) -> dict[str, Any]:
    """Convert the text settings of a preset to the types of its planes' fields."""
    values: dict[str, Any] = dict(settings)
    for plane in preset.planes:
        values.update(convert(plane, settings, f"policy {preset.name}"))
    return values


def _compose(text: str, *, registered_only: bool = False) -> Policy:
    parts: dict[str, str] = {}
    plane = ""
    for item in text.split(","):
        key, _, rest = item.strip().partition("=")
        if key in PLANES:
            plane = key
            parts[plane] = rest
        else:
            parts[plane] += ("," if ":" in parts[plane] else ":") + item.strip()
    made = {}
    for plane, spec in parts.items():
        made[plane] = parse_plane(plane, spec, registered_only=registered_only)
    return Policy(text, **made)


def parse_routing(text: str) -> Routing:
    """Make a routing rule from `session-affinity`, `prefix-aware:index=events` or `package.module:Class`.

    Raises
    ------
    PolicyError, ConfigError
        For an unknown name or parameter (naming the nearest) or a value out of range.
    """
    load_plugins()
    routing: Routing = parse_plane("routing", text)
    return routing


def routing_spec(routing: Routing) -> str:
    """Return a routing rule in the notation of the command line, without parameters at their defaults."""
    if isinstance(routing, Deployments):
        return f"{routing_spec(routing.among)} of deployments, {routing_spec(routing.within)} of their ranks"
    cls = type(routing)
    name = next((name for name, known in ROUTINGS.items() if known is cls), f"{cls.__module__}:{cls.__qualname__}")
    chosen = {f.name: getattr(routing, f.name) for f in fields(cls) if getattr(routing, f.name) != f.default}
    settings = [f"{key}={'none' if value is None else value}" for key, value in chosen.items()]
    return ":".join([name, ",".join(settings)]) if settings else name


def parse_plane(plane: str, text: str, *, registered_only: bool = False) -> Any:
    """Make one plane from a rule's name (or `module:Class` if it is not registered) and its parameters."""
    place = _PLACE.fullmatch(text.strip())
    if place and place["module"] not in PLANES[plane]:
        if registered_only:
            raise _not_registered(text)
        name = f"{place['module']}:{place['name']}"
        cls = _import_plane(plane, place["module"], place["name"])
        settings = split_spec(f"{name.replace(':', '.')}:{place['settings'] or ''}")[1]
    else:
        name, settings = split_spec(text)
        cls = find_plane(plane, name)
    return make_plane(cls, vars_of(cls, settings, f"{plane} {name}"))


def _not_registered(text: str) -> ConfigError:
    return ConfigError(f"{text!r} names code to import and is not a registered policy")


def _import_policy(text: str, place: re.Match[str]) -> Policy:
    """Make a policy from the object that a module holds under a name."""
    where = f"{place['module']}:{place['name']}"
    found = _imported(f"policy {where}", place["module"], place["name"])
    if isinstance(found, Preset):
        _, settings = split_spec(f"{found.name}:{place['settings']}" if place["settings"] else found.name)
        return found.build(**policy_settings(found, settings))
    if isinstance(found, Policy) and not place["settings"]:
        return found
    for plane, base in BASES.items():
        if isinstance(found, type) and issubclass(found, base):
            return _compose(f"{plane}={text}")
    raise ConfigError(f"policy {where} is not a Preset, a Policy (which takes no parameters) or a class of a plane")


def _imported(what: str, module: str, name: str) -> Any:
    """Return what a module of somebody else's holds under a name."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        # What it lacks of this package has moved, and the error says where to.
        ours = isinstance(error, ImportError) and (error.name or "").startswith("continuum_sim.")
        remedy = "" if ours else "; is its folder in PYTHONPATH?"
        raise ConfigError(f"{what} cannot be imported: {error}{remedy}") from None


def _import_plane(plane: str, module: str, name: str) -> type:
    """Import a rule from the module that defines it."""
    found = _imported(f"{plane}={module}:{name}", module, name)
    base = BASES[plane]
    if not (isinstance(found, type) and issubclass(found, base) and is_dataclass(found)):
        raise ConfigError(f"{plane}={module}:{name} is not a rule of this plane: expected a {base.__name__} dataclass")
    return found


def vars_of(cls: type, settings: Mapping[str, str], owner: str) -> dict[str, Any]:
    """Return the converted settings of one plane; refuse unknown ones."""
    check_names(settings, (f.name for f in fields(cls)), "parameter", of=owner, error=PolicyError)
    return convert(cls, settings, owner)
