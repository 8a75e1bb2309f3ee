"""The identity of a cell: a hash of everything its result depends on, with names looked up."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, Final, TypeVar

import msgspec

from continuum_sim.hardware import GpuSpec, ModelSpec, find_gpu, find_model
from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.parallel import ALL2ALL_BACKENDS, Parallel
from continuum_sim.policies import Policy
from continuum_sim.setup.notation import parse_arrivals
from continuum_sim.setup.replicas import parse_replicas
from continuum_sim.setup.resolve import arrivals_spec, resolve_policy
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.named import make_step_time
from continuum_sim.steptime.timed import is_dense
from continuum_sim.vllm_defaults import CLIENT_RETRIES, MIRRORED_VLLM

_ID_DIGITS: Final = 20
"""80 bits: two of a billion cells share an identity with a chance below 1e-6 (birthday bound n²/2^81)."""

_LATER: Final = {
    "slo": None,
    "unfit": None,
    "kv_cache_dtype": "auto",
    "vllm_version": MIRRORED_VLLM,
    "prefill_schedule_interval": 1,
    "disable_hybrid_kv_cache_manager": False,
    "prefix_cache_retention_interval": 0,
    "max_num_queued_reqs": None,
    "max_num_queued_tokens": None,
    "abort_rate": 0,
    "request_timeout": None,
    "job_timeout": None,
    "retry": CLIENT_RETRIES,
    "client_delay": 0,
    "pipeline_parallel_size": 1,
    "data_parallel_size": 1,
    "enable_expert_parallel": False,
    "nodes": 1,
    "link": None,
    "node_link": None,
    "all2all_backend": ALL2ALL_BACKENDS[0],
    "enable_dbo": False,
}
"""Settings left out where they are as in versions without them, whose identities are kept."""

T = TypeVar("T")


class Lookup:
    """Looks up each name once, however many cells share it."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def check_names(self, settings: Mapping[str, Any]) -> None:
        """Refuse unknown names; settings that fail only in combination fail just their cell.

        Raises
        ------
        ConfigError, PolicyError
            Naming the unknown name and the nearest known one.
        """
        if isinstance(policy := settings.get("policy"), str):
            self._found(resolve_policy, policy)
        if isinstance(model := settings.get("model"), str):
            self._found(find_model, model)
        if isinstance(gpu := settings.get("gpu"), str):
            self._found(find_gpu, gpu)

    def identify(self, config: RunConfig, trace_sha256: str) -> tuple[RunConfig, str]:
        """Return the run with its policy as an object, and its identity.

        A policy is shipped as an object because a worker may not know a name that was registered here.

        Raises
        ------
        ConfigError, PolicyError
            If settings cannot work together.
        """
        policy = config.policy if isinstance(config.policy, Policy) else self._found(resolve_policy, config.policy)
        model = config.model if isinstance(config.model, ModelSpec) else self._found(find_model, config.model)
        gpu = config.gpu if isinstance(config.gpu, GpuSpec) else self._found(find_gpu, config.gpu)
        facts: dict[str, Any] = {item.name: getattr(config, item.name) for item in fields(config)}
        for name, none in _LATER.items():
            if facts[name] == none or facts[name] in ("", [], {}):
                del facts[name]
        facts |= {
            "trace": trace_sha256,
            "policy": self._once(("described", id(policy)), lambda: (policy, _of_policy(policy)))[1],
            "model": _of_model(model, config.parallel),
            "gpu": asdict(gpu),
            "replicas": [{**asdict(spec.gpu), **spec.tiers} for spec in parse_replicas(config.replicas, gpu)],
            "arrivals": self._arrivals(config),
            "step_time": self._step_time(config, model, gpu),
        }
        text = msgspec.json.encode({name: _plain(value) for name, value in facts.items()}, order="sorted")
        return replace(config, policy=policy), hashlib.sha256(text).hexdigest()[:_ID_DIGITS]

    def _arrivals(self, config: RunConfig) -> str | None:
        arrivals = config.arrivals
        if isinstance(arrivals, str):
            return self._once(("arrivals", arrivals), lambda: arrivals_spec(parse_arrivals(arrivals)))
        return None if arrivals is None else arrivals_spec(arrivals)

    def _step_time(self, config: RunConfig, model: ModelSpec, gpu: GpuSpec) -> Any:
        spec, parallel = config.step_time, config.parallel
        if not isinstance(spec, str):
            return spec.describe()

        def describe() -> Any:
            return make_step_time(spec, model=model, gpu=gpu, parallel=parallel).describe()

        return self._once(("step_time", spec, model.name, gpu.name, parallel), describe)

    def _found(self, find: Callable[[str], T], name: str) -> T:
        return self._once((find.__name__, name), lambda: find(name))

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = make()
        found: T = self._known[key]
        return found


_SHAPES: Final = (
    *("name", "n_layers", "hidden", "n_heads", "n_kv_heads", "head_dim", "intermediate", "vocab"),
    *("max_position_embeddings", "source", "tied_embeddings", "gated_mlp", "qkv_bias", "qk_norm", "norms_per_layer"),
    *("sliding_window", "n_sliding_layers", "dtype_bytes", "extra_params", "aliases"),
)
"""Entries that describe a dense model on one GPU completely; earlier versions knew only such models."""


def _of_model(model: ModelSpec, parallel: Parallel) -> dict[str, Any]:
    told = model.describe()
    shapes = {name: told[name] for name in _SHAPES}
    if model.kv_dtype_bytes is not None:
        shapes["kv_dtype_bytes"] = model.kv_dtype_bytes
    if parallel.gpus > 1 or model.quantization is not None or not is_dense(model):
        shapes["caches"] = [_told(cache) for cache in model.caches]
        shapes["held"] = model.unread or model.weight_bytes_per_rank(parallel)
    return shapes


_FOR_STEP_TIMES: Final = ("latent", "chosen", "index_heads", "index_dim", "scan", "borrowers")
"""What caches say for step times alone; earlier versions did not know it, and said nothing."""


def _told(cache: CacheLayers) -> dict[str, Any]:
    return {name: value for name, value in asdict(cache).items() if value or name not in _FOR_STEP_TIMES}


def _of_policy(policy: Policy) -> dict[str, Any]:
    """Return names, parameters, and the source code of planes that are not ours: an edited rule is another rule."""
    planes = [getattr(policy, item.name) for item in fields(policy)]
    foreign = {cls for plane in planes for cls in type(plane).__mro__ if not _ours(cls)}
    sources = {f"{cls.__module__}.{cls.__qualname__}": _source(cls) for cls in foreign}
    return {**policy.describe(), "sources": sources}


def _ours(cls: type) -> bool:
    return cls.__module__ == "builtins" or cls.__module__.partition(".")[0] == "continuum_sim"


def _source(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return ""


def _plain(value: Any) -> Any:
    """Return an object as JSON can hold it."""
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__qualname__, **_plain(asdict(value))}
    if hasattr(value, "item"):
        return value.item()
    return repr(value)
