"""The settings of a run as its manifest stores them: what was asked for, in a form that can be asked for again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, ModelSpec, find_gpu, find_model
from continuum_sim.policies import Policy, PolicyError, Routing
from continuum_sim.setup.notation import parse_arrivals, parse_policy, parse_routing, routing_spec
from continuum_sim.setup.resolve import arrivals_spec
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.setup.trace_source import TraceSource

SETTINGS: Final = "settings"
"""Entry of a manifest: every field of `RunConfig` that can be read back, as the user gave it."""
OBJECTS: Final = "objects"
"""Entry of a manifest, if needed: the fields whose values were objects without a text form, and their types."""


def describe_settings(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the entries `settings` and `objects` of a manifest, ready for JSON.

    An object that a name can reproduce (a GPU of the catalogue, a preset built in code) is stored by that name.
    """
    settings: dict[str, Any] = {}
    objects: dict[str, str] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        try:
            settings[item.name] = _plain(value)
        except _NoText as error:
            objects[item.name] = str(error)
    return {SETTINGS: settings, **({OBJECTS: objects} if objects else {})}


class _NoText(Exception):
    """Raised with the description of an object that has no text form."""


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, os.PathLike):
        return _path(value)
    if isinstance(value, TraceSource):
        return _trace(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    for kind, name, find in _NAMED:
        if isinstance(value, kind):
            return _named(value, name, find)
    if isinstance(value, list | tuple) and all(isinstance(item, str | GpuSpec) for item in value) and value:
        return [_plain(item) for item in value]
    if hasattr(value, "times") or hasattr(value, "workers"):
        return _named(value, arrivals_spec, parse_arrivals)
    raise _NoText(_kind(value))


def _path(value: os.PathLike[Any]) -> str:
    return os.fsdecode(value)


def _trace(source: TraceSource) -> str:
    if source.asked is None:
        raise _NoText("programs in memory" if source.path is None else f"{source.path}, which can be read once")
    return source.asked


def _named(value: Any, name: Callable[[Any], str], find: Callable[[str], Any]) -> str:
    """Return the name of `value` if looking it up finds an equal object; raise `_NoText` otherwise."""
    try:
        text = name(value)
        if _alike(find(text), value):
            return text
    except (ConfigError, PolicyError, AttributeError, TypeError):
        pass
    raise _NoText(f"{_kind(value)} {getattr(value, 'name', '')}".strip())


def _alike(found: Any, value: Any) -> bool:
    return bool(found.describe() == value.describe() if isinstance(value, Policy) else found == value)


def _own_name(value: Any) -> str:
    return str(value.name)


def _kind(value: object) -> str:
    return type(value).__name__


_NAMED: Final[tuple[tuple[type, Callable[[Any], str], Callable[[str], Any]], ...]] = (
    (Policy, _own_name, parse_policy),
    (ModelSpec, _own_name, find_model),
    (GpuSpec, _own_name, find_gpu),
    (Routing, routing_spec, parse_routing),
)
