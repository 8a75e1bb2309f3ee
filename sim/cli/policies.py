"""`continuum-sim policies`: what there is to choose from."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Any

from continuum_sim.cli.options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType


def policies(json: Json = False) -> None:
    """List the policies and the plane rules, with their parameters and sources."""
    from continuum_sim.policies import PRESETS
    from continuum_sim.policies.registry import PLANES, load_plugins

    load_plugins()
    presets = sorted(map(_preset, PRESETS.values()), key=lambda p: (p["oracle"], p["name"]))
    rules = {plane: [_rule(name, cls) for name, cls in names.items()] for plane, names in PLANES.items()}
    if json:
        from continuum_sim.results.jsonfile import to_json

        print(to_json({"policies": presets, "planes": rules}), end="")
        return
    from continuum_sim.cli.console import show

    show(*_view(presets, rules))


def _preset(preset: Any) -> dict[str, Any]:
    return {
        "name": preset.name,
        "rule": preset.rule,
        "parameters": [asdict(parameter) for parameter in preset.parameters],
        "source": preset.source,
        "oracle": preset.build().oracle,
    }


def _rule(name: str, cls: type) -> dict[str, Any]:
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
    return {"name": name, "rule": " ".join(doc.partition("\n\n")[0].split()), "parameters": parameters}


def _view(presets: list[dict[str, Any]], rules: dict[str, list[dict[str, Any]]]) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    yield Text("Policies: --policy NAME or NAME:parameter=value,…", style="bold underline")
    for preset in presets:
        yield Text(f"\n{preset['name']}", style="bold cyan")
        yield Padding(Text(preset["rule"]), (0, 0, 0, 4))
        yield from _parameters(preset)
        yield Padding(Text(f"source: {preset['source']}", style="dim"), (0, 0, 0, 4))
    yield Text(
        "\nRules of each plane: --policy order=RULE,retention=RULE:parameter=value,… (a plane left out is stock vLLM)",
        style="bold underline",
    )
    for plane, of_plane in rules.items():
        for rule in of_plane:
            yield Text(f"\n{plane}={rule['name']}", style="bold cyan")
            yield Padding(Text(rule["rule"]), (0, 0, 0, 4))
            yield from _parameters(rule)


def _parameters(owner: dict[str, Any]) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    for parameter in owner["parameters"]:
        text = Text(f"{parameter['name']}={parameter['default']}", style="green")
        text.append(f"  {parameter['help']}" if parameter["help"] else "", style="default")
        yield Padding(text, (0, 0, 0, 4))
