"""`continuum-sim figures`: pictures of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.scenario_flags import is_given

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.status import Status
    from rich.text import Text

    from continuum_sim.plotting import FiguresResult


def figures(
    context: typer.Context,
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Results of run, compare, sweep or capacity.", show_default=False),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Only these figures: NAME,NAME.", show_default=False, autocompletion=completer("figure")),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory to write to. Default: DIR/figures.", show_default=False)
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="Any of pdf, png, svg.")] = "pdf,png",
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Draw only runs for which this holds: rate=0.08, policy=ttl, … May be repeated.", show_default=False
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Policy that ratios compare with. Default: lru, or the first.",
            show_default=False,
            autocompletion=completer("policy"),
        ),
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Run and draw the figures of the Continuum paper, its values beside ours.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="With --paper: two seeds, three values per axis.")] = False,
    jobs: Annotated[int, typer.Option(help="With --paper: processes to simulate on; -1 is one per core.")] = -1,
    list_figures: Annotated[bool, typer.Option("--list", help="List the figures and the data they need.")] = False,
    json: Json = False,
) -> None:
    """Draw every figure that the results allow, as pictures and as CSV."""
    from continuum_sim.errors import ConfigError

    if list_figures:
        _show_list(json=json)
        return
    names = None if only is None else _split(only)
    if paper:
        _check_alone(directories, where, baseline)
        place = Path("paper-figures") if out is None else out
        _show(_paper(place, only=names, quick=quick, formats=_split(formats), jobs=jobs), json=json)
        return
    for flag in ("quick", "jobs"):
        if is_given(context, flag):
            raise ConfigError(f"--{flag} is for --paper: other figures simulate nothing")
    if not directories:
        raise ConfigError("nothing to draw: give a directory of results, as in figures results/lru (or --list)")
    result = _draw(
        directories,
        only=names,
        out=out,
        formats=_split(formats),
        where=_parse_where(where or []),
        baseline=baseline,
    )
    _show(result, json=json)


def _draw(directories: list[Path], **options: Any) -> FiguresResult:
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.plotting import figures as draw

    with interruptible("interrupted; finished figures are written"), _Status("reading results") as status:
        return draw(directories, progress=lambda name: status.say(f"drawing {name}"), **options)


def _paper(out: Path, **options: Any) -> FiguresResult:
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.plotting.paper import paper_figures

    kept = f"finished cells are in {out}; the same command goes on from there"
    with interruptible(lambda: f"interrupted while {status}; {kept}"), _Status("planning") as status:
        return paper_figures(out, progress=status.say, **options)


class _Status:
    """A status line, shown on a terminal only."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._status: Status | None = None

    def __enter__(self) -> _Status:
        from continuum_sim.cli.console import messages

        console = messages()
        if console.is_terminal:
            self._status = console.status(_shown(self._text))
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __str__(self) -> str:
        return self._text

    def say(self, text: str) -> None:
        """Show what is being done now; stops here if asked to."""
        from continuum_sim.interrupts import stop_if_asked

        stop_if_asked()
        self._text = text
        if self._status is not None:
            self._status.update(_shown(text))


def _shown(text: str) -> Text:
    """Return text that a spinner shows literally instead of as markup."""
    from rich.text import Text

    from continuum_sim.traces.printable import printable

    return Text(printable(text))


def _show(result: FiguresResult, *, json: bool) -> None:
    """Print what was drawn and what was skipped.

    Raises
    ------
    ConfigError
        If nothing was drawn.
    """
    from continuum_sim.cli.console import say, show
    from continuum_sim.errors import ConfigError
    from continuum_sim.plotting.files import plain
    from continuum_sim.results.jsonfile import to_json

    if not result.drawn:
        raise ConfigError(f"no figure could be drawn; {'; '.join(f'{s.name} {s.missing}' for s in result.skipped)}")
    if json:
        print(to_json({"directory": str(result.directory), **plain(result)}), end="")
    else:
        drawn = [(one.name, "drawn", " ".join(path.suffix[1:] for path in one.files)) for one in result.drawn]
        skipped = [(one.name, "skipped", one.missing) for one in result.skipped]
        show(_table(("figure", "", ""), [*drawn, *skipped]))
    say(f"wrote {result.directory}")


def _show_list(*, json: bool) -> None:
    from continuum_sim.cli.console import show
    from continuum_sim.plotting.paper.catalogue import PAPER_FIGURES
    from continuum_sim.plotting.registry import all_figures
    from continuum_sim.results.jsonfile import to_json

    rows = [(spec.name, spec.shows, spec.needs) for spec in all_figures().values()]
    rows += [(figure.name, figure.shows, "--paper, which runs it") for figure in PAPER_FIGURES.values()]
    heads = ("figure", "shows", "needs")
    if json:
        print(to_json([dict(zip(heads, row, strict=True)) for row in rows]), end="")
    else:
        show(_table(heads, rows))


def _check_alone(*given: object) -> None:
    from continuum_sim.errors import ConfigError

    if any(item is not None and item != [] for item in given):
        raise ConfigError("--paper runs its own cells: DIR, --where and --baseline are for other figures")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _parse_where(conditions: list[str]) -> dict[str, list[str]]:
    from continuum_sim.errors import ConfigError

    found: dict[str, list[str]] = {}
    for condition in conditions:
        name, sign, value = condition.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise ConfigError(f"--where {condition!r} is not of the form name=value, as in rate=0.08")
        found.setdefault(name.strip().replace("-", "_"), []).append(value.strip())
    return found


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> RenderableType:
    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.results.view import name, words

    table = StackedTable([name(heads[0]), *map(words, heads[1:])], heads=bool(heads[1]))
    for row in rows:
        table.add_row(*row)
    return table
