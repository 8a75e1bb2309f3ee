"""Examples in docstrings give what they show, with the names of their module at hand as doctest has it.

The text comes from the source files, since compiled classes may have no docstrings; the names from what is installed.
"""

from __future__ import annotations

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef


def examples() -> dict[str, tuple[str, str]]:
    """File and name -> module and docstring, for every docstring of the product with an example."""
    found = {}
    for folder in ("policies", "sim", "traces", "validate"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            file = path.relative_to(ROOT)
            module = ".".join(["continuum_sim", *file.with_suffix("").parts]).replace(
                "continuum_sim.sim", "continuum_sim"
            )
            for node in ast.walk(ast.parse(text)) if ">>> " in text else ():
                if isinstance(node, DOCUMENTED) and ">>> " in (docstring := ast.get_docstring(node) or ""):
                    found[f"{file}:{getattr(node, 'name', 'module')}"] = module.removesuffix(".__init__"), docstring
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_what_it_shows(name: str) -> None:
    module, docstring = EXAMPLES[name]
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(docstring, dict(vars(import_module(module))), name, None, None)
    assert doctest.DocTestRunner(verbose=False).run(test, out=said.append).failed == 0, "".join(said)


def test_the_classes_that_people_start_from_have_examples() -> None:
    assert {
        "policies/planes.py:Policy",
        "sim/engine/block_pool.py:BlockPool",
        "sim/engine/scheduler.py:Scheduler",
        "sim/world/simulation.py:Simulation",
    } <= set(EXAMPLES)
