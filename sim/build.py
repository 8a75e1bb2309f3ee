"""Which build this is: the same code, with the hot modules compiled or not."""

from __future__ import annotations

from importlib.util import find_spec


def build_name() -> str:
    """`compiled` or `pure Python`; results are the same to the byte."""
    spec = find_spec("continuum_sim.engine.scheduler")  # the heart of what is compiled
    assert spec is not None
    assert spec.origin is not None
    return "pure Python" if spec.origin.endswith(".py") else "compiled"
