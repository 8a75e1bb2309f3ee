"""User settings: the `continuum` part of vLLM's `--additional-config`, or an environment variable.

vLLM hashes `additional_config` into the key of its compile cache (`VllmConfig.compute_hash`): engines that differ in
it, even if only in their log file, each compile their model anew. vLLM does not hash the variable.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from continuum_sim.engine.rebuild import RebuildTime
from continuum_sim.errors import ConfigError
from continuum_sim.names import check_names
from continuum_sim.policies import Policy, PolicyError
from continuum_sim.policies.host.governor import FORGET_AFTER_S
from continuum_sim.setup.notation import parse_policy

SECTION = "continuum"
"""Key of `additional_config` that holds the settings."""

ENVIRONMENT = "CONTINUUM_SIM_PLUGIN"
"""Variable that holds the settings as JSON if `additional_config` has none; `validate` sets it for its engines."""


@dataclass(frozen=True, kw_only=True)
class PluginSettings:
    """Settings of the plug-in; the names are the keys that users write."""

    policy: str
    """Policy in the notation of the command line, such as `ttl` or `ttl-static:ttl=2`."""
    decisions: Path | None = None
    """Decision log to append to (JSON lines, in the simulator's format)."""
    counts: Path | None = None
    """JSON file of what the policy has done so far; by default beside the decision log."""
    rebuild: RebuildTime | None = None
    """R(C) = constant_s + linear_s·C + quadratic_s·C², given directly."""
    step_time: Path | None = None
    """Step-time coefficients written by `continuum-sim calibrate`; R(C) follows from them."""
    forget_after_s: float = FORGET_AFTER_S
    """Seconds without a turn after which a program counts as ended."""
    counts_period_s: float = 5.0
    """Seconds between two writes of `counts` while the engine is busy."""

    def __post_init__(self) -> None:
        if self.rebuild is not None and self.step_time is not None:
            raise ConfigError(f"{SECTION}: rebuild and step_time both say how long a rebuild takes; give one of them")
        for name in ("forget_after_s", "counts_period_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{SECTION}: {name} is {getattr(self, name)}, expected more than 0 seconds")

    def make_policy(self) -> Policy:
        """Build the policy.

        Raises
        ------
        ConfigError
            For an unknown policy or parameter, and for a policy that looks ahead or needs a lower memory tier.
        """
        try:
            policy = parse_policy(self.policy)
        except PolicyError as error:
            raise ConfigError(f"{SECTION}: policy {self.policy!r}: {error}") from None
        if policy.oracle:
            raise ConfigError(
                f"{SECTION}: policy {self.policy!r} looks ahead, so it runs in the simulator only; choose another"
            )
        if policy.retention.needs_tier:
            raise ConfigError(
                f"{SECTION}: policy {self.policy!r} moves contexts to host memory, which the plug-in cannot have vLLM "
                "do; run it in the simulator, or choose one that needs no memory tier"
            )
        return policy


def read_settings(additional_config: object, environ: Mapping[str, str] | None = None) -> PluginSettings:
    """Read the settings from vLLM's `additional_config`, or else from the environment.

    Raises
    ------
    ConfigError
        If neither names a policy, or a key or value is wrong; the message names the key and what was expected.
    """
    section = additional_config.get(SECTION) if isinstance(additional_config, Mapping) else None
    where = f"additional_config[{SECTION!r}]"
    if section is None:
        text = (os.environ if environ is None else environ).get(ENVIRONMENT)
        if text is None:
            example = json.dumps({SECTION: {"policy": "ttl"}})
            raise ConfigError(
                f"the scheduler plug-in was told no policy; start vLLM with --additional-config '{example}' or set "
                f"{ENVIRONMENT}"
            )
        section, where = _parse(text), f"the variable {ENVIRONMENT}"
    if not isinstance(section, Mapping):
        raise ConfigError(f'{where} is {section!r}, expected a JSON object such as {{"policy": "ttl"}}')
    return _settings(section, where)


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the variable {ENVIRONMENT} is not JSON ({error})") from None


def _settings(section: Mapping[str, Any], where: str) -> PluginSettings:
    check_names(section, (f.name for f in fields(PluginSettings)), "key", of=where, error=ConfigError)
    policy = section.get("policy")
    if not isinstance(policy, str) or not policy.strip():
        raise ConfigError(f"{where}: policy is {policy!r}, expected a name such as 'ttl'")
    decisions = _path(section, "decisions", where)
    counts = _path(section, "counts", where)
    if counts is None and decisions is not None:
        counts = decisions.with_suffix(".counts.json")
    return PluginSettings(
        policy=policy,
        decisions=decisions,
        counts=counts,
        rebuild=_rebuild(section.get("rebuild"), where),
        step_time=_path(section, "step_time", where),
        forget_after_s=_seconds(section, "forget_after_s", PluginSettings.forget_after_s, where),
        counts_period_s=_seconds(section, "counts_period_s", PluginSettings.counts_period_s, where),
    )


def _path(section: Mapping[str, Any], key: str, where: str) -> Path | None:
    value = section.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: {key} is {value!r}, expected a path")
    return Path(value).expanduser()


def _seconds(section: Mapping[str, Any], key: str, default: float, where: str) -> float:
    if key not in section:
        return default
    if section[key] is None:
        return math.inf
    return _number(section[key], key, where)


def _rebuild(value: object, where: str) -> RebuildTime | None:
    if value is None:
        return None
    names = [f.name for f in fields(RebuildTime)]
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise ConfigError(f"{where}: rebuild is {value!r}, expected an object with the numbers {', '.join(names)}")
    return RebuildTime(**{name: _number(value[name], f"rebuild.{name}", where) for name in names})


def _number(value: object, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{where}: {key} is {value!r}, expected a number")
    return float(value)
