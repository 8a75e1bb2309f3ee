"""The policies package only decides: it uses no simulator, no engine, no input and no output."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import continuum_sim.names
import continuum_sim.policies

FOLDER = Path(continuum_sim.policies.__file__).parent
ALLOWED = {"numpy", "scipy", "continuum_sim.policies", "continuum_sim.names"}
"""Allowed besides the standard library; `names` imports only that (tests/sim/test_names.py)."""
NEVER = {"os", "io", "socket", "subprocess", "threading", "asyncio", "random", "time", "datetime", "logging"}
"""Parts of the standard library through which a rule could reach I/O, randomness or the clock."""


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, wherever the import is in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_rule_imports_nothing_that_acts(path: Path) -> None:
    for module in imported(path):
        top = module.partition(".")[0]
        assert top not in NEVER, f"{path.name} imports {module}"
        allowed = top in sys.stdlib_module_names or any(
            module == name or module.startswith(name + ".") for name in ALLOWED
        )
        assert allowed, f"{path.name} imports {module}"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_rule_opens_and_prints_nothing(path: Path) -> None:
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval"}


def test_the_package_can_be_imported_without_the_simulator() -> None:
    import subprocess

    # `continuum_sim` itself may import what it likes; its policies must not be what asks for it.
    code = (
        "import importlib.util, sys, types\n"
        f"spec = importlib.util.spec_from_file_location('continuum_sim.policies', {str(FOLDER / '__init__.py')!r}, "
        f"submodule_search_locations=[{str(FOLDER)!r}])\n"
        "sys.modules['continuum_sim'] = bare = types.ModuleType('continuum_sim')\n"
        f"bare.__path__ = [{str(Path(continuum_sim.names.__file__).parent)!r}]\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['continuum_sim.policies'] = module\n"
        "spec.loader.exec_module(module)\n"
        "assert 'ttl' in module.PRESETS\n"
        "strangers = {'simpy', 'pandas', 'pyarrow', 'typer', 'rich', 'vllm', 'joblib', 'matplotlib'}\n"
        "assert not strangers & set(sys.modules), strangers & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
