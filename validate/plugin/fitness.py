"""Check once at start whether a policy can run on this vLLM engine."""

from __future__ import annotations

from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.policies.planes import Policy, keeps_contexts, leaves_order


def check_fitness(scheduler: Any, policy: Policy) -> None:
    """Refuse combinations of policy and engine that would not work as intended.

    Raises
    ------
    ConfigError
        Naming the policy, the engine's setting and the remedy.
    """
    config = scheduler.vllm_config
    name = f"policy {policy.name!r}"
    keeps = keeps_contexts(policy.retention)
    if keeps and not config.cache_config.enable_prefix_caching:
        raise ConfigError(
            f"{name} keeps contexts for the next turn, which finds them through the prefix cache; start vLLM with "
            "--enable-prefix-caching"
        )
    if not leaves_order(policy) and config.scheduler_config.policy != "fcfs":
        raise ConfigError(
            f"{name} has an order of its own, and so has --scheduling-policy {config.scheduler_config.policy}; "
            "leave out that flag"
        )
    if getattr(config.model_config, "is_diffusion", False):
        raise ConfigError(f"{config.model_config.model} is a diffusion model, which vLLM schedules in a way of its own")
