"""`continuum-sim figures`: pictures of results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from continuum_sim.cli.options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from continuum_sim.plotting import FiguresResult


def figures(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Results of run, compare or sweep.", show_default=False),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Only these figures: NAME,NAME.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory to write to. Default: DIR/figures.", show_default=False)
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="Of pdf, png, svg.")] = "pdf,png",
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Draw only runs of which this is true: rate=0.08, policy=ttl, … May be repeated.", show_default=False
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Policy that ratios are to. Default: lru, or the first.", show_default=False)
    ] = None,
    jct_target: Annotated[
        float | None,
        typer.Option(help="JCT in seconds that capacity is at. Default: twice the unloaded.", show_default=False),
    ] = None,
    list_figures: Annotated[bool, typer.Option("--list", help="List the figures and the data they need.")] = False,
    json: Json = False,
) -> None:
    """Draw every figure that the results allow, as pictures and as CSV."""
    from continuum_sim.cli.console import messages, show
    from continuum_sim.errors import ConfigError
    from continuum_sim.results.jsonfile import to_json

    if list_figures:
        rows = _listed()
        if json:
            print(to_json(rows), end="")
        else:
            show(_table(("figure", "shows", "needs"), [tuple(row.values()) for row in rows]))
        return
    if not directories:
        raise ConfigError("nothing to draw: give a directory of results, as in figures results/lru (or --list)")
    result = _draw(
        directories,
        only=None if only is None else [name.strip() for name in only.split(",") if name.strip()],
        out=out,
        formats=[kind.strip() for kind in formats.split(",") if kind.strip()],
        where=_parse_where(where or []),
        baseline=baseline,
        jct_target_s=jct_target,
    )
    if not result.drawn:
        raise ConfigError(f"no figure could be drawn; {'; '.join(f'{s.name} {s.missing}' for s in result.skipped)}")
    if json:
        print(to_json(_plain(result)), end="")
    else:
        drawn = [(one.name, "drawn", " ".join(path.suffix[1:] for path in one.files)) for one in result.drawn]
        skipped = [(one.name, "skipped", one.missing) for one in result.skipped]
        show(_table(("figure", "", ""), [*drawn, *skipped]))
    messages().print(f"wrote {result.directory}", soft_wrap=True)


def _draw(directories: list[Path], **options: object) -> FiguresResult:
    from continuum_sim.cli.console import messages
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.plotting import figures as draw

    console = messages()
    with interruptible("interrupted; figures that were whole are written"):
        if not console.is_terminal:
            return draw(directories, **options)  # type: ignore[arg-type]
        with console.status("reading results") as status:
            return draw(directories, progress=lambda name: status.update(f"drawing {name}"), **options)  # type: ignore[arg-type]


def _parse_where(conditions: list[str]) -> dict[str, list[str]]:
    from continuum_sim.errors import ConfigError

    found: dict[str, list[str]] = {}
    for condition in conditions:
        name, sign, value = condition.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise ConfigError(f"--where {condition!r} is not of the form name=value, as in rate=0.08")
        found.setdefault(name.strip().replace("-", "_"), []).append(value.strip())
    return found


def _listed() -> list[dict[str, str]]:
    from continuum_sim.plotting.registry import all_figures

    return [{"figure": spec.name, "shows": spec.shows, "needs": spec.needs} for spec in all_figures().values()]


def _plain(result: FiguresResult) -> dict[str, object]:
    return {
        "directory": str(result.directory),
        "figures": [
            {"name": one.name, "caption": one.caption, "files": [str(path) for path in one.files]}
            for one in result.drawn
        ],
        "skipped": [{"name": one.name, "missing": one.missing} for one in result.skipped],
    }


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD if heads[1] else None, show_header=bool(heads[1]), pad_edge=False, show_edge=False
    )
    for at, head in enumerate(heads):
        table.add_column(head, overflow="fold", no_wrap=at == 0)
    for row in rows:
        table.add_row(*row)
    return table
