"""Asking an installed vLLM again: only the version that is mirrored, and a few questions a day."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar

import pytest

from continuum_sim.vllm_defaults import MIRRORED_VLLM

T = TypeVar("T")


def of_the_day(questions: Sequence[T], number: int, name: Callable[[T], str]) -> list[T]:
    """Return so many by date; CONTINUUM_CI_DATE repeats a day's."""
    named = os.environ.get("CONTINUUM_CI_DATE")
    today = (date.fromisoformat(named) if named else date.today()).toordinal()
    return sorted(questions, key=lambda one: zlib.crc32(f"{today} {name(one)}".encode()))[:number]


def skip_unless_mirrored(remedy: str) -> None:
    """Skip a test without the vLLM whose answers are kept."""
    vllm = pytest.importorskip("vllm", reason="vLLM is not installed")
    if not vllm.__version__.startswith(MIRRORED_VLLM):
        pytest.skip(f"vLLM is {vllm.__version__}, the answers are of {MIRRORED_VLLM}: {remedy}")
