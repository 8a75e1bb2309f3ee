"""What all tests share."""

from __future__ import annotations

import os

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
