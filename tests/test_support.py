"""The map of `tests/support` in its docstring: every module, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import support


def test_the_map_leaves_no_module_out() -> None:
    assert support.__doc__ is not None
    assert support.__file__ is not None
    modules = {path.stem for path in Path(support.__file__).parent.glob("*.py")} - {"__init__"}
    mapped = re.findall(r"^\* `(\w+)`: ", support.__doc__, flags=re.MULTILINE)
    assert sorted(mapped) == sorted(modules)
