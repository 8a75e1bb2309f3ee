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


# .ci/run sets CONTINUUM_CI_DATE to today, and of the tests marked `repeats` a share is run; without it all of them are.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    today = _ci_date()
    if today is None:
        return
    kept, left = [], []
    for item in items:
        (kept if in_turn(item, today) else left).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


def in_turn(item: pytest.Item, today: date) -> bool:
    """Whether a test is run on a day: all of them within `share` days, whichever way they are spread over processes."""
    marker = item.get_closest_marker("repeats")
    if marker is None:
        return True
    share: int = marker.kwargs.get("share", 4)
    return (zlib.crc32(item.nodeid.encode()) + today.toordinal()) % share == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if (today := _ci_date()) is not None:
        terminalreporter.write_line(
            f"tests marked `repeats`: the share of {today}, CONTINUUM_CI_DATE={today} runs it again"
        )


def _ci_date() -> date | None:
    named = os.environ.get("CONTINUUM_CI_DATE")
    return date.fromisoformat(named) if named else None
