"""The parts of vLLM that the plug-in builds on, checked by name before anything else happens.

vLLM's scheduler is not a public interface, so a version counts as supported if it has every part listed here. A
missing part is reported in one line instead of failing in the middle of serving.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Final

from continuum_sim.errors import ConfigError

TESTED: Final = ("0.32", "0.33")
"""Versions on whose scheduler the plug-in's tests ran."""

_SCHEDULER: Final = "vllm.v1.core.sched.scheduler:Scheduler"
_PARTS: Final[dict[str, Sequence[str]]] = {
    _SCHEDULER: (
        *("schedule", "update_from_output", "add_request", "finish_requests", "get_request_counts"),
        *("reset_prefix_cache", "shutdown", "_preempt_request", "_free_request", "_free_request_blocks"),
    ),
    "vllm.v1.core.sched.async_scheduler:AsyncScheduler": ("schedule", "_update_after_schedule"),
    "vllm.v1.core.sched.request_queue:RequestQueue": (),
    "vllm.v1.core.sched.request_queue:SchedulingPolicy": ("FCFS", "PRIORITY"),
    "vllm.v1.core.kv_cache_manager:KVCacheManager": ("allocate_slots", "get_blocks", "free"),
    "vllm.v1.core.block_pool:BlockPool": ("touch", "free_blocks", "evict_blocks", "get_num_free_blocks"),
    "vllm.v1.core.kv_cache_utils:get_block_hash": (),
    "vllm.v1.core.kv_cache_utils:resolve_block_hashes": (),
    "vllm.v1.request:Request": ("is_finished", "num_tokens", "num_output_tokens"),
    "vllm.v1.request:RequestStatus": (
        *("RUNNING", "FINISHED_STOPPED", "FINISHED_LENGTH_CAPPED", "FINISHED_ABORTED", "FINISHED_REPETITION"),
    ),
}
"""Attributes needed of each class (empty: it must exist)."""

_ARGUMENTS: Final = {
    ("vllm.v1.core.kv_cache_manager:KVCacheManager", "allocate_slots"): (
        *("request", "num_new_computed_tokens", "num_external_computed_tokens"),
    ),
    ("vllm.v1.core.block_pool:BlockPool", "evict_blocks"): ("block_ids",),
}
_QUEUE_METHODS: Final = {
    *("add_request", "pop_request", "peek_request", "prepend_request", "prepend_requests"),
    *("remove_request", "remove_requests", "__bool__", "__len__", "__iter__"),
}
"""What vLLM may call on a waiting queue; `PolicyQueue` has exactly these methods."""

_INSTANCE: Final = (
    *("waiting", "kv_holding_waiting", "running", "requests", "connector", "policy", "block_size", "hash_block_size"),
    *("max_num_active_reqs", "max_num_scheduled_tokens", "max_model_len", "num_waiting_for_streaming_input"),
    *("kv_cache_manager", "kv_cache_manager.block_pool", "kv_cache_manager.coordinator.single_type_managers"),
    *("kv_cache_manager.block_pool.num_gpu_blocks", "kv_cache_config.has_mamba_layers"),
    *("vllm_config", "parallel_config.data_parallel_index"),
)
"""Attributes that a scheduler must have once it is built."""


def check_classes() -> None:
    """Refuse a vLLM whose classes lack a part.

    Raises
    ------
    ConfigError
        Naming the version and everything that is missing.
    """
    _refuse(list(_missing_parts()))


def check_instance(scheduler: object) -> None:
    """Refuse a scheduler object that lacks a part.

    Raises
    ------
    ConfigError
        See `check_classes`.
    """
    _refuse([f"attribute {path} of the scheduler" for path in _INSTANCE if not _has(scheduler, path)])


def vllm_version() -> str:
    """Return the version of the installed vLLM, or `none`."""
    try:
        return str(importlib.import_module("vllm.version").__version__)
    except ImportError:
        return "none"


def is_tested(version: str) -> bool:
    """Return True if the plug-in was tested on this version of vLLM."""
    return ".".join(version.split(".")[:2]) in TESTED


def _missing_parts() -> Iterator[str]:
    for path, names in _PARTS.items():
        part = _load(path)
        if part is None:
            yield path.replace(":", ".")
            continue
        yield from (f"{path.replace(':', '.')}.{name}" for name in names if not hasattr(part, name))
    for (path, name), arguments in _ARGUMENTS.items():
        function = getattr(_load(path), name, None)
        known = inspect.signature(function).parameters if function else arguments
        yield from (f"argument {a} of {path.replace(':', '.')}.{name}" for a in arguments if a not in known)
    queue = _load("vllm.v1.core.sched.request_queue:RequestQueue")
    for name in sorted(getattr(queue, "__abstractmethods__", _QUEUE_METHODS) ^ _QUEUE_METHODS):
        yield f"the queue method {name} (asked for or offered, but not both)"


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _has(start: object, path: str) -> bool:
    part = start
    for name in path.split("."):
        if not hasattr(part, name):
            return False
        part = getattr(part, name)
    return True


def _refuse(missing: Sequence[str]) -> None:
    if missing:
        raise ConfigError(
            f"vLLM {vllm_version()} is built differently from what the scheduler plug-in knows (tested: "
            f"{', '.join(TESTED)}): {'; '.join(missing)} not found; install one of the tested versions"
        )
