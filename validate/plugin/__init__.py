"""Scheduler plug-in for stock vLLM: the simulator's policy objects decide in a real engine.

Start vLLM with `--scheduler-cls continuum_sim.validate.plugin.ContinuumScheduler` and
`--additional-config '{"continuum": {"policy": "ttl"}}'`; docs/deploy.md tells the rest. Importing this package
does not import vLLM; asking it for a class does. Begin with `host.py`, which runs `policies/host` in vLLM; whatever is
used of vLLM's own parts is listed in `internals.py`.
"""

from __future__ import annotations

from typing import Any

SCHEDULER_CLS = "continuum_sim.validate.plugin.ContinuumScheduler"
"""Value for `--scheduler-cls`; the class itself picks its asynchronous twin if the engine schedules asynchronously."""

_CLASSES = ("ContinuumScheduler", "ContinuumAsyncScheduler")


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from continuum_sim.validate.plugin import scheduler

    return getattr(scheduler, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_CLASSES})
