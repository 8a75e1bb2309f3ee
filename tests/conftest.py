"""What all tests share."""

from __future__ import annotations

import os
import signal
import threading

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
