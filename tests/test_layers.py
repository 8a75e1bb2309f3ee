"""Which module may import which: layers point one way, and nothing goes round in a circle, lazy imports included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "continuum_sim": "sim",
    "continuum_sim.policies": "policies",
    "continuum_sim.traces": "traces",
    "continuum_sim.validate": "validate",
}
ROOMS = (
    ("hardware",),
    ("published", "steptime"),
    ("engine",),
    ("world",),
    ("steady",),
    ("setup",),
    ("results",),
    ("tracks",),
    ("capacities", "runs", "scenarios", "sweeps"),
    ("plotting",),
    ("report",),
    ("cli",),
)
"""Folders of `sim/`, from the bottom up: one imports what is below it or beside it."""
UPWARD = {("continuum_sim.results.view.shown", "continuum_sim.report.layout")}
"""A result that a notebook shows asks for the page's layout, when it is shown."""
LEAVES = {"continuum_sim.names", "continuum_sim.interrupts"}
"""Of `sim/`, for every layer to import; they import nothing of ours."""


@cache
def sources() -> dict[str, Path]:
    """Every module of the product, with its file."""
    return {
        ".".join([package, *path.relative_to(ROOT / folder).with_suffix("").parts]).removesuffix(".__init__"): path
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }


def statements(body: list[Any]) -> Iterator[ast.stmt]:
    """All that can run: what stands under TYPE_CHECKING is for type checkers alone."""
    for one in body:
        yield one
        if not (isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"):
            for inner in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from statements(getattr(one, inner, []))


@cache
def imports_of(module: str) -> frozenset[str]:
    """What a module imports, wherever in it; of a package's names those that are modules."""
    found = set()
    for node in statements(ast.parse(sources()[module].read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: absolute imports only"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & sources().keys()
            if not inner <= sources().keys():
                found.add(str(node.module))
    return frozenset(found)


@cache
def graph() -> dict[str, frozenset[str]]:
    """Module -> those of ours that it imports."""
    return {module: (imports_of(module) & sources().keys()) - {module} for module in sources()}


def room(module: str) -> str:
    """The folder a module is in, below the package."""
    parts = module.split(".")
    folder = ".".join(parts[:2])
    return parts[1] if len(parts) > 2 or (len(parts) == 2 and sources()[folder].name == "__init__.py") else ""


def arrows() -> Iterator[tuple[str, str]]:
    return ((module, other) for module, others in graph().items() for other in others)


def test_nothing_imports_in_a_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail("circle: " + " <- ".join(error.args[1]))


def allowed(module: str, other: str) -> bool:
    """Whether an import points down."""
    here, there = room(module), room(other)
    if module in LEAVES:
        return False
    if here in ("policies", "traces"):
        return there == here or other in LEAVES
    if there == "validate":
        return here == "validate"
    if there == "cli":  # the command line is on top; commands of `validate` are laid out as its own are
        return here in ("cli", "validate") or module == "continuum_sim.__main__"
    levels = {name: level for level, names in enumerate(ROOMS) for name in names}
    return here not in levels or there not in levels or levels[there] <= levels[here]


def test_every_room_has_its_level() -> None:
    rooms = {room(module) for module in sources()} - {"", "policies", "traces", "validate"}
    assert rooms == {name for names in ROOMS for name in names}


def test_layers_point_one_way() -> None:
    assert {arrow for arrow in arrows() if not allowed(*arrow)} == UPWARD


def test_vllm_is_imported_by_validate_alone() -> None:
    found = {
        room(module)
        for module in sources()
        for name in imports_of(module)
        if name.partition(".")[0] in ("vllm", "torch")
    }
    assert found == {"validate"}


def test_a_circle_and_an_arrow_that_points_up_would_be_seen() -> None:
    assert ("continuum_sim.validate.judge.predict", "continuum_sim.validate.judge.observed") in set(arrows())
    assert ("continuum_sim.validate.engines.in_process", "continuum_sim.validate.steplog") in set(arrows())
    assert not allowed("continuum_sim.policies.rules.ttl", "continuum_sim.errors")
    assert not allowed("continuum_sim.engine.scheduler", "continuum_sim.validate.steplog")
    assert not allowed("continuum_sim.plotting.draw", "continuum_sim.cli.numbers")
    assert not allowed("continuum_sim.world.cluster", "continuum_sim.setup.resolve")
    assert not allowed("continuum_sim.names", "continuum_sim.errors")
    assert allowed("continuum_sim.traces.files", "continuum_sim.interrupts")
