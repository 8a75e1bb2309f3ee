"""What all tests share."""

from __future__ import annotations

import os
import signal
import threading
import zlib
from datetime import date

import pytest
from hypothesis import HealthCheck, Phase, settings

# CI draws the same examples every time and does not spend minutes making a failing one smaller; a developer does.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the commands that tests start.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What only repeats other checks is sampled by date: .ci/run sets CONTINUUM_CI_DATE to today, and of the tests marked
# `repeats` a share is run; with CONTINUUM_CI_SHARE=8 of all others one in 8 as well. Without a date all are run.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _multiply_examples(items, int(os.environ.get("CONTINUUM_EXAMPLES", "1")))
    today, one_in = _ci_date(), int(os.environ.get("CONTINUUM_CI_SHARE", "1"))
    if today is None:
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("repeats")
        share = one_in * (marker.kwargs.get("share", 4) if marker else 1)
        (kept if in_turn(item.nodeid, today, share) else left).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


def _multiply_examples(items: list[pytest.Item], factor: int) -> None:
    """With CONTINUUM_EXAMPLES=14 every property and state machine is tried on fourteen times as many examples."""
    if factor == 1:
        return
    name = "_hypothesis_internal_use_settings"  # what `settings` has decorated a test with; there is no public name
    tests = {getattr(item.obj, "__func__", item.obj) for item in items if hasattr(item, "obj")}
    for test in tests:
        if (before := getattr(test, name, None)) is not None:
            setattr(test, name, settings(before, max_examples=factor * before.max_examples))
    for case in {getattr(item, "cls", None) for item in items}:  # a state machine's is a class of unittest
        if isinstance(before := getattr(case, "settings", None), settings):
            case.settings = settings(before, max_examples=factor * before.max_examples)


def in_turn(name: str, today: date, share: int) -> bool:
    """Whether it is a test's day: every test has one within `share` days, whatever other tests there are."""
    return (zlib.crc32(name.encode()) + today.toordinal()) % share == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if (today := _ci_date()) is not None:
        terminalreporter.write_line(f"sampled by date: CONTINUUM_CI_DATE={today} repeats the choice")


def _ci_date() -> date | None:
    named = os.environ.get("CONTINUUM_CI_DATE")
    return date.fromisoformat(named) if named else None
