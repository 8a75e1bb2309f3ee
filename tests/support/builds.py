"""What cannot be tested on a compiled build."""

from __future__ import annotations

import pytest

from continuum_sim.build import build_name

replaces_methods = pytest.mark.skipif(
    build_name() == "compiled", reason="compiled classes call their methods directly, so a test cannot replace one"
)
