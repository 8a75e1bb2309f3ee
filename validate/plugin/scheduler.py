"""The classes for vLLM's `--scheduler-cls`. Importing this module imports vLLM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.validate.plugin.internals import check_classes, check_instance, is_tested, vllm_version

check_classes()

from vllm.logger import init_logger  # noqa: E402
from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # noqa: E402
from vllm.v1.core.sched.scheduler import Scheduler  # noqa: E402

from continuum_sim.validate.plugin.host import PolicyHost  # noqa: E402
from continuum_sim.validate.plugin.settings import read_settings  # noqa: E402

# A child of vLLM's own logger, so that vLLM's log settings apply to the plug-in too.
_logger = init_logger("vllm.continuum_sim")


class _PolicyScheduling:
    """Reports the events of vLLM's scheduler to a policy; mixed in before either of vLLM's classes."""

    continuum_clock: Callable[[], float]
    """Seconds on the policies' clock; replaced by a virtual clock in parity checks."""
    requests: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_instance(self)
        config = kwargs["vllm_config"] if "vllm_config" in kwargs else args[0]
        self.continuum = PolicyHost(self, read_settings(config.additional_config), _complain)
        self.continuum_clock = self.continuum.uptime_s
        policy = self.continuum.governor.policy
        if not is_tested(vllm_version()):
            _complain(f"vLLM {vllm_version()} is not among the versions the plug-in was tested on")
        _logger.info("%s schedules by policy %s: %s", type(self).__name__, policy.name, policy.describe())

    def add_request(self, request: Any) -> None:
        if request.request_id not in self.requests:  # otherwise: more input of a streaming session
            self.continuum.turn_arrives(request)
        super().add_request(request)  # type: ignore[misc]

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        self.continuum.begin_step()
        output = super().schedule(*args, **kwargs)  # type: ignore[misc]
        self.continuum.scheduled(output)
        return output

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        self.continuum.step_ran(scheduler_output)
        outputs = super().update_from_output(scheduler_output, model_runner_output)  # type: ignore[misc]
        self.continuum.step_processed()
        return outputs

    def _preempt_request(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.continuum.preempting(request)
        super()._preempt_request(request, *args, **kwargs)  # type: ignore[misc]

    def _free_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.continuum.request_ends(request)
        return super()._free_request(request, *args, **kwargs)  # type: ignore[misc]

    def reset_prefix_cache(self, *args: Any, **kwargs: Any) -> Any:
        self.continuum.reset()
        return super().reset_prefix_cache(*args, **kwargs)  # type: ignore[misc]

    def shutdown(self) -> None:
        self.continuum.close()
        super().shutdown()  # type: ignore[misc]


class ContinuumAsyncScheduler(_PolicyScheduling, AsyncScheduler):  # type: ignore[misc]
    """vLLM's asynchronous scheduler under a policy of `continuum_sim.policies`."""

    def __init__(self, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        if not vllm_config.scheduler_config.async_scheduling:
            raise ConfigError(
                "ContinuumAsyncScheduler needs asynchronous scheduling, which is off here; name ContinuumScheduler, "
                "which works either way, or start vLLM with --async-scheduling"
            )
        super().__init__(vllm_config, *args, **kwargs)


class ContinuumScheduler(_PolicyScheduling, Scheduler):  # type: ignore[misc]
    """vLLM's scheduler under a policy of `continuum_sim.policies`, asynchronous if the engine is."""

    def __new__(cls, vllm_config: Any, *args: Any, **kwargs: Any) -> Any:
        """Make an object of the class that matches the engine's way of scheduling."""
        if cls is ContinuumScheduler and vllm_config.scheduler_config.async_scheduling:
            return ContinuumAsyncScheduler(vllm_config, *args, **kwargs)
        return super().__new__(cls)


def _complain(text: str) -> None:
    _logger.warning("continuum-sim plug-in: %s", text)
