"""`meta.json`, which LLMServingSim's `bench` writes beside a log: the engine as vLLM resolved it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.validate.recorded.fields import Fields, parse_object, read_bytes
from continuum_sim.validate.recorded.log import EngineSetup

META: Final = "meta.json"


def read_meta(path: Path, requests: int) -> tuple[EngineSetup, tuple[str, ...]]:
    """Read the engine's settings, and notes on what the simulator does not model; nothing if there is no file.

    Parameters
    ----------
    requests
        Number of requests in the log.

    Raises
    ------
    TraceError
        If the file is not a JSON object or a setting in it has a wrong type.
    ConfigError
        If the run used several engines, so that the simulation of one cannot be compared with it.
    """
    if not path.is_file():
        return EngineSetup(), ()
    meta = parse_object(read_bytes(path), path)
    given = _table(meta, "engine_kwargs")
    resolved = _table(meta, "resolved_config")
    scheduler, parallel = _table(resolved, "scheduler_config"), _table(resolved, "parallel_config")
    cache = _table(resolved, "cache_config") | _table(meta, "kv_cache")
    replicas = parallel.get("data_parallel_size", given.get("data_parallel_size", 1))
    if replicas != 1:
        raise ConfigError(
            f"{path}: data_parallel_size is {replicas}: the requests were spread over several engines, and the log "
            "does not say which served which; record one engine"
        )

    def first(name: str, *tables: dict[str, Any]) -> dict[str, Any] | None:
        return next((table for table in tables if table.get(name) is not None), None)

    def count(name: str, *tables: dict[str, Any]) -> int | None:
        found = first(name, *tables)
        return None if found is None else Fields(found, path).tokens(name)

    def switch(name: str, *tables: dict[str, Any]) -> bool | None:
        found = first(name, *tables)
        return None if found is None else bool(found[name])

    utilization = first("gpu_memory_utilization", cache, given)
    has_threshold = bool(scheduler.get("long_prefill_token_threshold"))
    setup = EngineSetup(
        source=path,
        model=_text(meta.get("model")),
        gpu=_text(_table(meta, "hardware").get("device_name")),
        tensor_parallel_size=count("tensor_parallel_size", parallel, given),
        pipeline_parallel_size=count("pipeline_parallel_size", parallel, given),
        enable_expert_parallel=switch("enable_expert_parallel", parallel, given),
        nodes=count("nnodes", parallel, given),
        kv_blocks=count("num_gpu_blocks", cache),
        gpu_memory_utilization=None
        if utilization is None
        else Fields(utilization, path).share("gpu_memory_utilization"),
        block_size=count("block_size", cache, given),
        max_num_batched_tokens=count("max_num_batched_tokens", scheduler, given),
        max_num_seqs=count("max_num_seqs", scheduler, given),
        max_model_len=count("max_model_len", _table(resolved, "model_config"), given),
        async_scheduling=switch("async_scheduling", scheduler, given),
        enable_prefix_caching=switch("enable_prefix_caching", cache, given),
        long_prefill_token_threshold=count("long_prefill_token_threshold", scheduler) if has_threshold else None,
    )
    return setup, tuple(_notes(meta, resolved, cache, requests))


def _notes(meta: dict[str, Any], resolved: dict[str, Any], cache: dict[str, Any], requests: int) -> list[str]:
    scheduler = _table(resolved, "scheduler_config")
    notes = []
    if (version := _text(meta.get("vllm_version"))) is not None:
        notes.append(f"recorded on vLLM {version}")
    if meta.get("num_requests", requests) != requests:
        notes.append(
            f"{META} says {meta['num_requests']} requests, the log holds {requests}: those missing are not simulated"
        )
    if scheduler.get("policy", "fcfs") != "fcfs":
        notes.append(f"recorded with --scheduling-policy {scheduler['policy']}, simulated with fcfs")
    if scheduler.get("scheduler_cls"):
        notes.append(f"recorded under the scheduler {scheduler['scheduler_cls']}, simulated with vLLM's own")
    if resolved.get("speculative_config"):
        notes.append("recorded with speculative decoding, simulated without")
    return notes


def _table(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a part of the file; LLMServingSim omits or empties what it could not find."""
    value = values.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
