"""`continuum-sim scenarios`: list published experiments to rerun, or show one of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from continuum_sim.scenarios import Scenario


def scenarios(
    name: Annotated[
        str | None,
        typer.Argument(help="Show one of them in full.", metavar="[NAME]", autocompletion=completer("scenario")),
    ] = None,
    json: Json = False,
) -> None:
    """List the named settings of published experiments, for --scenario; with a name, show it in full."""
    from continuum_sim.cli.console import show
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.scenarios import find_scenario
    from continuum_sim.scenarios import scenarios as all_of_them

    if name is not None:
        found = find_scenario(name)
        if json:
            print(to_json(_full(found)), end="")
        else:
            show(*_one(found))
        return
    if json:
        print(to_json([_full(scenario) for scenario in all_of_them()]), end="")
        return
    show(_list(all_of_them()))


def _full(scenario: Scenario) -> dict[str, Any]:
    from continuum_sim.published import find_published

    return {**asdict(scenario), "results": [asdict(find_published(figure)) for figure in scenario.figures]}


def _list(found: tuple[Scenario, ...]) -> RenderableType:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.view import name, words

    table = StackedTable([name("--scenario"), words("what it is"), words("policies")])
    for scenario in found:
        table.add_row(scenario.name, scenario.title, ", ".join(scenario.policies))
    return table


def _one(scenario: Scenario) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    yield Text(f"{scenario.name}: {scenario.title}", style="bold")
    if scenario.published:
        yield Text(f"published: {scenario.published}")
    yield Text("\nSettings (a flag you give wins)", style="bold")
    for key, value in scenario.base.items():
        yield Padding(Text(f"{key} = {value}"), (0, 0, 0, 4))
    yield Text("\nVaried", style="bold")
    for key, values in scenario.grid.items():
        yield Padding(Text(f"{key}: {', '.join(map(str, values))}"), (0, 0, 0, 4))
    if scenario.choices:
        yield Text("\nChosen by us, where the publication is silent" if scenario.published else "\nWhy", style="bold")
        for key, why in scenario.choices.items():
            yield Padding(Text(f"{key}: {why}"), (0, 0, 0, 4))
    for figure in scenario.figures:
        yield ""
        yield _published(figure)


def _published(name: str) -> RenderableType:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.published import find_published
    from continuum_sim.results.view import Column, numbers, words
    from continuum_sim.results.view import name as name_column

    figure = find_published(name)
    title = f"Published, {figure.figure}: {figure.title} ({figure.source}; ~: read off the picture)"
    x_column = [Column(figure.x_name, "label")] if figure.x_name else []
    columns = [name_column("series"), words("policy"), *x_column, words("quantity"), *numbers("value")]
    table = StackedTable(columns, title)
    for point in figure.points:
        x = () if not figure.x_name else ("" if point.x is None else f"{point.x:g}",)
        value = f"{'~' if point.approximate else ''}{point.value:,g}"
        table.add_row(point.series, point.policy or "", *x, point.quantity, value)
    return table
