"""Options of a command that are settings of a run, each derived from its field of `RunConfig`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.scenario_flags import is_given, parameter_of, say_notes, settings_of
from continuum_sim.cli.usage import value_given
from continuum_sim.setup.run_config import arrivals_at, check_value, run_settings
from continuum_sim.setup.settings import LOAD, Setting

if TYPE_CHECKING:
    from continuum_sim.setup.run_config import RunConfig

Command = Callable[..., None]
_SEVERAL: Final = {"policy": "policies", "seed": "seeds", "rate": "rates"}
"""Setting -> the parameter of a command that takes several values of it."""

_Scenario = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        "--config",
        help="Settings of a published experiment (see `scenarios`), or a TOML file; flags given win.",
        show_default=False,
        rich_help_panel=LOAD,
        autocompletion=completer("scenario"),
    ),
]


class Flags(dict[str, Any]):
    """Settings by name, with values from the command line, a scenario or the defaults."""

    def config(self, **more: Any) -> RunConfig:
        """Return the run that these settings, with `more`, describe.

        Raises
        ------
        ConfigError
            For a number out of range.
        """
        from continuum_sim.setup.run_config import RunConfig

        return RunConfig(**self, **more)


def option_of(name: str, *, unset: str | None = None, panel: str | None = None) -> Any:
    """Return the option of one setting, for the annotation of a command's parameter.

    Its spellings, help, panel and completion are those of the field of `RunConfig`:
    `block_size: Annotated[int | None, option_of("block_size", unset="the engine's")] = None`.

    Parameters
    ----------
    name
        Name of the setting.
    unset
        Meaning of leaving it out in this command, if different from a run's; empty if the parameter has a default of
        its own to show.
    panel
        Panel of the help text; None for the setting's own, empty for none.
    """
    item = run_settings()[name]
    text = (item.is_switch and item.about.either) or item.about.help
    own = f"{text} Default: {unset}." if unset else text
    return typer.Option(
        item.declared,
        *item.about.flags,
        help=item.help if unset is None else own,
        show_default=not unset if unset is not None else item.default is not None,
        rich_help_panel=(item.about.panel if panel is None else panel) or None,
        autocompletion=completer(item.about.names),
    )


def switch_of(name: str, flag: str) -> Any:
    """Return the option for a flag that stands for one value of a setting."""
    item = run_settings()[name]
    value, about = item.switches[flag], item.about
    return typer.Option(
        flag,
        *(about.flags if flag == item.flag else ()),
        help=item.help if item.is_switch else about.switches[value],
        rich_help_panel=about.panel,
        show_default=False,
        hidden=about.rare or (item.is_switch and value is item.default),
    )


def takes_settings(
    *names: str, into: str = "flags", unset: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Command], Command]:
    """Decorate a command so that its parameter `into` is replaced by one option for each of these settings.

    The command receives them as a mapping of names to values, `Flags`. Numbers out of bounds are refused as by
    `RunConfig`, and a rate is turned into arrivals. The decorator can be applied several times, each with its own
    `into`:

        @takes_settings("trace", "arrivals", "rate", "limit", "max_turns", into="load")
        @takes_settings("tensor_parallel_size", "kv_blocks", into="engine", unset={"kv_blocks": "all that fit"})
        def validate(context: typer.Context, load: Flags, engine: Flags, out: Out = None) -> None: ...

    Parameters
    ----------
    names
        Settings of a run, in the order of the help text.
    into
        The parameter that takes them.
    unset
        Setting -> meaning of leaving it out in this command: its value is then None, whatever its default in a run.
    """

    def decorate(command: Command) -> Command:
        shared = [one for name in names for one in _parameters(run_settings()[name], unset.get(name))]

        def call(given: dict[str, Any]) -> None:
            join_switches(given)
            flags = Flags({name: given.pop(name) for name in names})
            for name in names:
                if flags[name] is None and run_settings()[name].is_switch and name not in unset:
                    flags[name] = run_settings()[name].default
            for name, value in flags.items():
                if name == "seed":
                    _check_one_seed(given["context"])
                if value is not None:
                    check_value(run_settings()[name], value)
            if flags.get("rate") is not None and "arrivals" in flags:
                flags["arrivals"] = arrivals_at(flags["rate"], flags["arrivals"])
                flags["rate"] = None
            command(**{into: flags}, **given)

        return with_parameters(command, into, shared, call)

    return decorate


def takes_run_flags(command: Command) -> Command:
    """Decorate a command so that its parameter `flags: Flags` is replaced by --scenario and an option for each setting.

    Settings are left out if the command has the parameter itself, or one that takes several values of the setting.
    """
    own = inspect.signature(command).parameters
    names = [name for name in run_settings() if name not in own and _SEVERAL.get(name) not in own]
    scenario = inspect.Parameter("scenario", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Scenario)
    inner = takes_settings(*names)(command)

    def call(given: dict[str, Any]) -> None:
        join_switches(given)
        chosen = given.pop("scenario")
        if chosen is not None:
            given.update(settings_of(chosen, given))
        inner(**given)
        if chosen is not None:
            say_notes(given["context"])

    return with_parameters(inner, "", [scenario], call)


def given_flags(context: typer.Context, flags: Flags) -> dict[str, Any]:
    """Return the settings that the command line gives."""
    return {name: value for name, value in flags.items() if is_given(context, name)}


def check_acting(context: typer.Context, settings: Mapping[str, Any], varied: Collection[str] = ()) -> None:
    """Refuse a setting on the command line that has no effect together with the others.

    Parameters
    ----------
    context
        Context of the command.
    settings
        All settings of the run, or those that all runs share.
    varied
        Names of settings that differ between runs.

    Raises
    ------
    ConfigError
        Naming the flag and what it needs.
    """
    from continuum_sim.errors import ConfigError

    replicas = str(settings.get("replicas", ""))
    known = run_settings()
    for name, item in known.items():
        needs = item.about.needs
        if not needs or not is_given(context, name) or {"replicas", *needs} & {*varied}:
            continue
        if not any(
            settings.get(other) not in (None, known[other].default) or f"{other}=" in replicas for other in needs
        ):
            missing = " or ".join(known[other].flag for other in needs)
            raise ConfigError(f"{item.flag} does nothing without {missing}; give that too, or leave it out")
    if is_given(context, "gpu") and replicas[:1].isalpha() and not {"gpu", "replicas"} & {*varied}:
        raise ConfigError(f"--gpu does nothing where --replicas names the GPUs ({replicas}); leave one out")


def _check_one_seed(context: typer.Context) -> None:
    """Refuse a range of seeds, since integer parsing would read `0-4` as -4."""
    from continuum_sim.errors import ConfigError

    given = value_given(context.obj or (), ["--seed"]) or ""
    if re.search(r"\d[,-]", given):
        raise ConfigError(f"--seed is {given!r}, expected one seed; `compare --seeds {given}` takes several")


def join_switches(given: dict[str, Any]) -> None:
    """Replace the flags that stand for a setting's values with the setting and its value.

    Raises
    ------
    ConfigError
        If two of these flags are given.
    """
    for name, item in run_settings().items():
        flags = item.switches
        # Where they are joined already, a setting that is on or off has the name of one of its flags.
        if flags and all(parameter_of(flag) in given for flag in flags):
            given[name] = value_of_switches(name, {flag: given.pop(parameter_of(flag)) for flag in flags})


def value_of_switches(name: str, given: Mapping[str, bool]) -> Any:
    """Return the value of a setting from the flags that stand for its values; None if no flag is given.

    Raises
    ------
    ConfigError
        If two flags are given.
    """
    from continuum_sim.errors import ConfigError

    on = [flag for flag, is_on in given.items() if is_on]
    if len(on) > 1:
        raise ConfigError(f"{' and '.join(on)} exclude each other; leave one out")
    return run_settings()[name].switches[on[0]] if on else None


def _parameters(item: Setting, unset: str | None) -> list[inspect.Parameter]:
    if item.is_switch and unset is not None:
        return [_parameter(item, unset)]
    return [
        inspect.Parameter(
            parameter_of(flag),
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, switch_of(item.name, flag)],
        )
        for flag in item.switches
    ] or [_parameter(item, unset)]


def _parameter(item: Setting, unset: str | None) -> inspect.Parameter:
    default = item.default if unset is None else None
    kind: Any = next(kind for kind in (str, float, int, bool) if kind in item.kind.types)  # text says numbers too
    if item.kind.choices:
        kind = Literal[item.kind.choices]
    elif kind is str and default is not None:
        default = str(default)
    annotation: Any = Annotated[kind if default is not None else kind | None, option_of(item.name, unset=unset)]
    return inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def with_parameters(
    command: Command, into: str, more: list[inspect.Parameter], call: Callable[[dict[str, Any]], None]
) -> Command:
    """Return a command that takes the parameters `more` instead of `into`, and is carried out by `call`."""
    own = inspect.signature(command, eval_str=True).parameters.values()

    @wraps(command)
    def wrapper(**given: Any) -> None:
        call(given)

    kept = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own if item.name != into]
    parameters = [*kept, *more]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper
