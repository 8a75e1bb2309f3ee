"""Settings that can be varied: the fields of `RunConfig` and the arrival rate; values are text, TOML or objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.names import check_names
from continuum_sim.setup.notation import split_list, split_spec
from continuum_sim.setup.run_config import run_settings
from continuum_sim.setup.seeds import parse_seeds
from continuum_sim.setup.setting_types import Arrivals
from continuum_sim.setup.settings import Kind
from continuum_sim.traces.arrivals import Poisson

RATE: Final = "rate"
"""Programs per second: a parameter of the arrivals that can be an axis of its own."""

_TRUTH: Final = {"true": True, "false": False, "1": True, "0": False}
_EXPECTED: Final = {int: "a whole number", float: "a number", bool: "true or false"}


@cache
def kinds() -> Mapping[str, Kind]:
    """Return the kind of every setting of a run, in the order of `RunConfig`, with the rate at the end."""
    found = {name: item.kind for name, item in run_settings().items() if name != RATE}
    return {**found, RATE: Kind((float,), False)}


def check_setting(name: str, owner: str) -> str:
    """Return the name of a setting with underscores.

    Raises
    ------
    ConfigError
        If there is no such setting; names the nearest one.
    """
    name = name.strip().replace("-", "_")
    check_names([name], kinds(), "setting", of=owner, error=ConfigError)
    return name


def read_values(name: str, raw: object) -> list[Any]:
    """Return the values of an axis, given as a list or as text of the command line.

    Text is split at `;` if there is one, otherwise at the commas between values, but not within a value's own settings
    (`ttl:pressure=head,cold_start=9,lru` is two policies). Seeds may be ranges: `0-9`.

    Raises
    ------
    ConfigError
        Naming the setting, if it has no value or a value of the wrong type.
    """
    if isinstance(raw, str):
        values: Iterable[object] = _split(name, raw)
    elif isinstance(raw, Iterable) and name != "trace":
        values = raw
    elif isinstance(raw, list | tuple) and all(isinstance(item, str) for item in raw):
        values = raw  # several traces; anything else that is iterable is one trace, of programs
    else:
        values = [raw]
    found: list[Any] = []
    for item in values:
        if name == "seed" and isinstance(item, str):
            found.extend(parse_seeds(item))
        else:
            found.append(read_value(name, item))
    if not found:
        raise ConfigError(f"{name} has no value, expected at least one")
    return found


def read_value(name: str, raw: object) -> Any:
    """Return one value; text is converted to the setting's type.

    Raises
    ------
    ConfigError
        Naming the setting and what was expected.
    """
    kind = kinds()[name]
    if isinstance(raw, np.generic):
        raw = raw.item()
    if isinstance(raw, str):
        return _of_text(name, raw.strip(), kind)
    if isinstance(raw, int) and not isinstance(raw, bool) and kind.types == (float,):
        with suppress(OverflowError):  # `RunConfig` refuses it, naming the setting
            return float(raw)
    return raw


def with_rate(arrivals: Arrivals, rate: float) -> Arrivals:
    """Return the arrivals with another rate; Poisson if there are none.

    Raises
    ------
    ConfigError
        If the arrivals have no rate.
    """
    if arrivals is None:
        return f"{Poisson.name}:rate={rate!r}"
    if isinstance(arrivals, str):
        name, settings = split_spec(arrivals)
        return f"{name}:" + ",".join(f"{key}={value}" for key, value in {**settings, "rate": repr(rate)}.items())
    if is_dataclass(arrivals) and any(item.name == "rate" for item in fields(arrivals)):
        return replace(arrivals, rate=rate)  # type: ignore[call-arg]
    raise ConfigError(f"arrivals {arrivals!r} have no rate to vary; vary the arrivals themselves")


def _split(name: str, text: str) -> list[str]:
    if ";" in text:
        parts = [part.strip() for part in text.split(";")]
    elif str in kinds()[name].types:
        parts = split_list(text)
    else:
        parts = [part.strip() for part in text.split(",")]
    return [part for part in parts if part]


def _of_text(name: str, text: str, kind: Kind) -> Any:
    if kind.optional and text.lower() == "none":
        return None
    for wanted in kind.types:
        try:
            return _TRUTH[text.lower()] if wanted is bool else wanted(text)
        except (ValueError, KeyError):
            continue
    expected = _EXPECTED[kind.types[-1]] if kind.types else "an object, which has no text form"
    raise ConfigError(f"{name} is {text!r}, expected {expected}{' or none' if kind.optional else ''}")
