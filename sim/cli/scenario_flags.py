"""What a command takes from a scenario: its settings, and the axes that the command supports; others are reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import typer

from continuum_sim.setup.run_config import run_settings

if TYPE_CHECKING:
    from continuum_sim.scenarios import Scenario


_TAKEN: Final = "continuum_sim.scenario"
_NOTES: Final = "continuum_sim.notes"


def is_chosen(context: typer.Context, name: str) -> bool:
    """Return True if the command line or its scenario gives a parameter."""
    return is_given(context, name) or name in context.meta.get(_TAKEN, ())


def is_given(context: typer.Context, name: str) -> bool:
    """Return True if the command line gives a parameter, or a flag that stands for one of its values."""
    item = run_settings().get(name)
    names = [parameter_of(flag) for flag in item.switches] if item is not None and item.switches else [name]
    sources = [context.get_parameter_source(name) for name in names]
    return any(source is not None and source.name != "DEFAULT" for source in sources)


def parameter_of(flag: str) -> str:
    """Return the parameter of a flag: `drop_unfit` for `--drop-unfit`."""
    return flag.removeprefix("--").replace("-", "_")


def settings_of(scenario: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a command that a scenario sets and the command line does not give.

    An axis with one value is a setting. An axis with several goes to `--policies` or `--seeds` if the command has them;
    otherwise the command uses the value in `[base]`, or its own default if the axis has that value, and prints a note.

    Raises
    ------
    ConfigError
        For an axis from which the command would have to choose a value.
    """
    from continuum_sim.scenarios import find_scenario
    from continuum_sim.sweeps.settings import RATE, with_rate

    found = find_scenario(scenario)
    context: typer.Context = given["context"]
    wanted = dict(found.base)
    if "rates" in given:  # a sweep, which supports every axis
        if found.policies:
            wanted["policies"] = ",".join(found.policies)
    else:
        for axis in found.grid:
            wanted |= _of_axis(scenario, found, axis, given)
    taken = {name: wanted[name] for name in given.keys() & wanted.keys() if not is_given(context, name)}
    if "arrivals" in taken and is_given(context, RATE):
        if "rate=" in taken["arrivals"]:
            taken |= {"arrivals": with_rate(taken["arrivals"], given[RATE]), RATE: None}
        else:
            del taken["arrivals"]
    context.meta[_TAKEN] = set(taken)
    return taken


def _of_axis(scenario: str, found: Scenario, axis: str, given: Mapping[str, Any]) -> dict[str, Any]:
    from continuum_sim.errors import ConfigError
    from continuum_sim.sweeps.settings import RATE, read_values, with_rate

    context: typer.Context = given["context"]
    values = read_values(axis, found.axis(axis))
    several = {"policy": "policies", "seed": "seeds"}.get(axis, "")
    if several in given:
        return {several: ",".join(map(str, values))}
    parameter = "arrivals" if axis == RATE else axis
    if parameter not in given or any(is_given(context, name) for name in (parameter, axis)):
        return {}
    base = found.base.get(parameter)
    if len(values) == 1:
        return {parameter: with_rate(base, values[0]) if axis == RATE else values[0]}
    listed = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    flag = run_settings()[axis].flag
    all_of_them = f"`sweep --scenario {scenario} --out DIR` runs them all"
    if base is None and given[parameter] not in values:
        raise ConfigError(f"scenario {scenario} varies {axis} ({listed}): choose one with {flag}; {all_of_them}")
    here = given[parameter] if base is None else base
    note = f"note: scenario {scenario} varies {axis} ({listed}); this is {here} (see {flag}); {all_of_them}"
    context.meta.setdefault(_NOTES, []).append(note)
    return {}


def say_notes(context: typer.Context) -> None:
    """Print which axes of a scenario the command did not vary; called after success, as an error is one line."""
    from continuum_sim.cli.console import say

    say(*context.meta.get(_NOTES, ()))
