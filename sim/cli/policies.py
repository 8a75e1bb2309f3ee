"""`continuum-sim policies`: list the policies and rules, or show one of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from continuum_sim.cli.options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

_PLANES: Final = ("order", "retention", "admission", "routing")


def policies(
    name: Annotated[
        str | None,
        typer.Argument(help="Show one policy in full, or one rule, as retention=ttl-static.", metavar="[NAME]"),
    ] = None,
    json: Json = False,
) -> None:
    """List the policies and the rules of each plane; with a name, show parameters, planes, notes and source."""
    from continuum_sim.cli.console import show
    from continuum_sim.policies.registry import PLANES, PRESETS, find_plane, find_preset, load_plugins
    from continuum_sim.results.jsonfile import to_json

    load_plugins()
    if name is not None:
        plane, sign, rule = (part.strip() for part in name.partition("="))
        found = _rule(plane, rule, find_plane(plane, rule)) if sign else _preset(find_preset(name.strip()))
        if json:
            print(to_json(found), end="")
        else:
            show(*_one(found))
        return
    presets = sorted(map(_preset, PRESETS.values()), key=lambda p: (p["oracle"], p["name"]))
    rules = {plane: [_rule(plane, name, cls) for name, cls in names.items()] for plane, names in PLANES.items()}
    if json:
        print(to_json({"policies": presets, "planes": rules}), end="")
    else:
        show(*_list(presets, rules))


def _preset(preset: Any) -> dict[str, Any]:
    policy = preset.build()
    return {
        "name": preset.name,
        "rule": preset.rule,
        "parameters": [asdict(parameter) for parameter in preset.parameters],
        "planes": {plane: _rule_name(plane, getattr(preset, plane)) for plane in _PLANES},
        "notes": list(_notes(policy)),
        "source": preset.source,
        "oracle": policy.oracle,
    }


def _rule_name(plane: str, cls: type | None) -> str | None:
    """Return the name of a rule; None for stock vLLM's rule, or a router that is left to the cluster."""
    from continuum_sim.policies.registry import BASES, PLANES

    if cls is None or cls is BASES[plane]:
        return None
    return next((name for name, known in PLANES[plane].items() if known is cls), cls.__name__)


def _notes(policy: Any) -> Iterator[str]:
    if policy.oracle:
        yield "looks ahead, so it runs in the simulator alone"
    if policy.retention.needs_tier:
        yield "moves contexts to host memory: give it some with --dram-gb"
    if policy.routing is not None:
        yield "brings a router for clusters, which --router overrides"


def _rule(plane: str, name: str, cls: type) -> dict[str, Any]:
    from continuum_sim.policies.registry import BASES

    parameters = [
        {
            "name": item.name,
            "type": str(item.type),
            "default": None if item.default is MISSING else item.default,
            "help": item.metadata.get("help", ""),
        }
        for item in fields(cls)
    ]
    doc = inspect.getdoc(cls) or ""
    rule = " ".join(doc.partition("\n\n")[0].split())
    return {"name": name, "rule": rule, "parameters": parameters, "plane": plane, "stock": cls is BASES[plane]}


def _list(presets: list[dict[str, Any]], rules: dict[str, list[dict[str, Any]]]) -> Iterator[RenderableType]:
    from rich.text import Text

    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.view import name as name_column
    from continuum_sim.results.view import words

    table = StackedTable([name_column("--policy"), words("what it does"), words("planes it changes")])
    for preset in presets:
        changed = ", ".join(plane for plane, rule in preset["planes"].items() if rule is not None)
        table.add_row(preset["name"], _short(preset["rule"]), changed or "none")
    yield table
    yield Text("\nA plane that a policy does not change is stock vLLM's. Planes can also be put together: ")
    yield Text("--policy order=RULE,retention=RULE:parameter=value\n")
    table = StackedTable([name_column("plane=RULE"), words("what it does")])
    for plane, of_plane in rules.items():
        for rule in of_plane:
            what = "As stock vLLM does" if rule["stock"] else _short(rule["rule"])
            table.add_row(f"{plane}={rule['name']}", what)
    yield table
    yield Text("\n`continuum-sim policies NAME` shows parameters and source of one of them.", style="dim")


def _short(rule: str) -> str:
    """Return the first clause of a rule's description."""
    return re.split(r"[.;] (?=[A-Za-z(])", rule)[0].rstrip(".")


def _one(found: dict[str, Any]) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.view import name as name_column
    from continuum_sim.results.view import words

    title = f"{found['plane']}={found['name']}" if "plane" in found else found["name"]
    yield Text(title, style="bold")
    yield Padding(Text(found["rule"]), (0, 0, 0, 4))
    yield ""
    if found["parameters"]:
        table = StackedTable([name_column("parameter"), words("default"), words("meaning")])
        for parameter in found["parameters"]:
            table.add_row(parameter["name"], str(parameter["default"]).lower(), parameter["help"])
        yield table
    else:
        yield "no parameters"
    if "planes" in found:
        table = StackedTable([name_column("plane"), words("rule")])
        for plane, rule in found["planes"].items():
            stock = "left to the cluster" if plane == "routing" else "stock vLLM"
            table.add_row(plane, stock if rule is None else rule)
        yield ""
        yield table
    for note in found.get("notes", ()):
        yield Text(f"\nnote: {note}", style="italic")
    if "source" in found:
        yield Text(f"\nsource: {found['source']}", style="dim")
