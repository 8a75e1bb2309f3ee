"""Step times from kernels measured by NVIDIA on its GPUs: the tables of its package aiconfigurator (Apache-2.0).

The package estimates one step at a time, in a quarter of a millisecond. A simulation asks millions of times, so the
estimates are sampled on a grid, once per model, GPU and parallel size, and kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec, gpus
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import ALL2ALL_BACKENDS, ONE_GPU, Parallel
from continuum_sim.steptime.aiconfigurator_models import ARCHITECTURES, hf_config
from continuum_sim.steptime.beside import beside
from continuum_sim.steptime.gridded import CONTEXTS, PROMPTS, REQUESTS, TOKENS, Gridded, StepTables, sample
from continuum_sim.steptime.kind import StepTimeKind, read_settings
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.told import Told
from continuum_sim.traces.files import whole_file, write_text
from continuum_sim.vllm_defaults import GPU_MEMORY_UTILIZATION

PACKAGE: Final = "aiconfigurator-core"

SYSTEMS: Final = {
    "A100-80": "a100_sxm",
    "H100": "h100_sxm",
    "H200": "h200_sxm",
    "B200": "b200_sxm",
    "B300": "b300_sxm",
    "GB200": "gb200",
    "GB300": "gb300",
    "L40S": "l40s",
    "RTX-PRO-6000": "rtx_pro_6000_server",
}
"""GPU in the catalogue -> system of aiconfigurator, for systems with vLLM kernels (0.12.0)."""

HOST_OVERHEAD_S: Final = 3e-4
"""Time of a step that no kernel accounts for. These kernels, measured one by one, sum to 0.3 ms less than the
decode steps of a recorded run of vLLM 0.19 with asynchronous scheduling (39 requests of Llama-3.1-8B on an RTX 4090:
docs/step-time.md, `profiled`). Without asynchronous scheduling the overhead is larger."""

_ALL_REDUCE: Final = re.compile(r"_ar(_\d)?$|_tp_allreduce$")
"""Operations of the package that are all-reduces over tensor parallel GPUs."""

_GRID: Final = 1
"""Version of the grid: raise it when `gridded.sample` asks for different steps."""


def installed() -> str | None:
    """Return the version of the package, None if it is not installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def load_aiconfigurator(
    model: ModelSpec, gpu: GpuSpec, parallel: Parallel = ONE_GPU, host_overhead_s: float = HOST_OVERHEAD_S
) -> Gridded:
    """Make the step times of a model on a GPU, from the cache or anew (some seconds).

    Parameters
    ----------
    host_overhead_s
        Added to every step, because the tables hold kernels only.

    Raises
    ------
    ConfigError
        If the package is missing, or does not know the GPU, the model or the parallel size.
    """
    if not (isfinite(host_overhead_s) and host_overhead_s >= 0):
        raise ConfigError(
            f"aiconfigurator: host_overhead_s is {host_overhead_s}, expected a finite number, zero or more"
        )
    release = _installed_or_error()
    system = _system(gpu)
    config = _hf_config(model)
    kv_dtype = "fp8" if model.kv_element_bytes == 1 else None
    size = parallel.tensor_parallel_size
    _check_links(parallel)
    split = _split(model, parallel)
    key: dict[str, Any] = {
        "package": f"{PACKAGE} {release}",
        "grid": [_GRID, len(PROMPTS), len(TOKENS), len(REQUESTS), len(CONTEXTS)],
        "system": system,
        "tensor_parallel_size": size,
        "model": config,
    }
    # Keys without these are those of earlier caches.
    if kv_dtype is not None:
        key["kv_cache_dtype"] = kv_dtype
    if split != _split(model, Parallel(size)):
        key["split"] = split
    if parallel.link is not None:
        key["all_reduces"] = True
    text = json.dumps(key, sort_keys=True)
    folder = cache_folder()
    path = folder / f"{system}-tp{size}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    tables = _read(path, text)
    if tables is None:
        tables = _ask_for_tables(model, config, gpu, system, parallel, kv_dtype)
        _write(path, text, tables)
    about = {
        "kind": "aiconfigurator",
        "model": model.name,
        "gpu": gpu.name,
        **parallel.describe(),
        "provenance": {"package": key["package"], "system": system, "backend": "vllm", "grid": _GRID},
    }
    mixed = beside(model, gpu, size)
    if parallel.link is None:
        return Gridded(tables, host_overhead_s, about, beside=mixed)
    told = Told(model, parallel, gpu)
    reduces = np.array([told.reduces * told.reduce.seconds(told.token_bytes * tokens) for tokens in TOKENS])
    return Gridded(tables, host_overhead_s, {**about, **told.describe()}, reduces - tables.all_reduce_s, mixed)


def estimate_kv_blocks(
    model: ModelSpec,
    gpu: GpuSpec,
    *,
    tensor_parallel_size: int = 1,
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION,
    block_size: int = 16,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
) -> int:
    """Return the package's own estimate of vLLM's `num_gpu_blocks`; None takes vLLM's default for the GPU.

    It was 9 % below one real engine's log, so no run uses it by default: pass it as `kv_blocks` if you want it.

    Raises
    ------
    ConfigError
        As in `load_aiconfigurator`, or if the model does not fit.
    """
    _installed_or_error()
    system = _system(gpu)
    tokens = max_num_batched_tokens or gpu.default_max_num_batched_tokens
    with _model_folder(_hf_config(model)) as folder, _quiet():
        from aiconfigurator_core.sdk import estimate_num_gpu_blocks

        try:
            blocks: int = estimate_num_gpu_blocks(
                folder,
                system,
                "vllm",
                "current",  # as for the step times
                scheduler_block_size=block_size,
                max_num_tokens=tokens,
                max_batch_size=max_num_seqs or min(gpu.default_max_num_seqs, tokens),
                memory_fraction_kind="of_total",
                memory_fraction_value=gpu_memory_utilization,
                tp_size=tensor_parallel_size,
                **_split(model, Parallel(tensor_parallel_size)),
            )
        except (ValueError, RuntimeError, KeyError) as error:
            raise _refused(model, gpu, tensor_parallel_size, error) from None
    return blocks


def cache_folder() -> Path:
    """Return the folder of cached tables: `$XDG_CACHE_HOME` or `~/.cache`, then `continuum-sim/aiconfigurator`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "continuum-sim" / "aiconfigurator"


def _installed_or_error() -> str:
    release = installed()
    if release is None:
        raise ConfigError(
            "step-time model 'aiconfigurator' needs a package that is not installed: "
            "pip install 'continuum-sim[aiconfigurator]' (82 MB, Python below 3.14)"
        )
    return release


def _system(gpu: GpuSpec) -> str:
    if gpu.name in SYSTEMS:
        return SYSTEMS[gpu.name]
    known = [card.name for card in gpus() if card.name in SYSTEMS]
    raise ConfigError(f"aiconfigurator has no vLLM kernels of {gpu.name}; it has those of {', '.join(known)}")


def _hf_config(model: ModelSpec) -> dict[str, Any]:
    """Return the shapes as the Hugging Face configuration of an architecture that the package knows."""
    config = hf_config(model)
    if config is None:
        raise ConfigError(
            f"aiconfigurator has no tables for the layers of {model.name} ({model.model_type}): sliding windows, extra "
            f"norms, recurrent layers, or weights stored as {model.quantization or 'they are'}; it knows "
            f"{ARCHITECTURES}"
        )
    return config


def _split(model: ModelSpec, parallel: Parallel) -> dict[str, Any]:
    """Return how the package is told of ranks and experts; ranks of a dense model are independent."""
    if not model.n_experts:
        return {}
    ways = parallel.expert_ways
    experts = {"moe_tp_size": 1, "moe_ep_size": ways}
    if not parallel.enable_expert_parallel:
        experts = {"moe_tp_size": ways, "moe_ep_size": 1}
    ranks = parallel.data_parallel_size
    return experts if ranks == 1 else {"attention_dp_size": ranks, **experts}


def _check_links(parallel: Parallel) -> None:
    """Refuse what cannot be taken apart from the package's own times of communication."""
    if parallel.all2all_backend != ALL2ALL_BACKENDS[0]:
        raise ConfigError(f"--all2all-backend {parallel.all2all_backend}: aiconfigurator has its own; leave it out")
    if parallel.enable_dbo:
        raise ConfigError("--enable-dbo: aiconfigurator cannot tell what two halves of a step take: use roofline")
    if parallel.node_link is not None or (parallel.link is not None and parallel.data_parallel_size > 1):
        name = "--node-link" if parallel.node_link is not None else "--link"
        raise ConfigError(
            f"{name}: aiconfigurator's times hold its own exchange of tokens, and links between nodes: leave it out"
        )


def _ask_for_tables(
    model: ModelSpec,
    config: dict[str, Any],
    gpu: GpuSpec,
    system: str,
    parallel: Parallel,
    kv_dtype: str | None,
) -> StepTables:
    size = parallel.tensor_parallel_size
    with _model_folder(config) as folder, _quiet():
        from aiconfigurator_core.sdk import RustForwardPassPerfModel

        engine: dict[str, Any] = {
            "schema_version": 1,
            "model_name": folder,
            "system_name": system,
            "backend": "vllm",
            "tp_size": size,
            "pp_size": 1,
            **_split(model, parallel),
            **({} if kv_dtype is None else {"kv_cache_dtype": kv_dtype}),
        }
        try:
            source = RustForwardPassPerfModel.from_native(engine, None)

            def ask(prefills: int, tokens: int, context: int, decodes: int, decode_context: int) -> float:
                scheduled = {
                    "num_prefill_requests": prefills,
                    "sum_prefill_tokens": tokens,
                    "sum_prefill_kv_tokens": context,
                    "num_decode_requests": decodes,
                    "sum_decode_kv_tokens": decode_context,
                }
                asked = {"version": 1, "scheduled_requests": scheduled}
                milliseconds = source.estimate_forward_pass_time_ms(asked)
                if milliseconds is None:
                    raise ValueError(f"no estimate of {scheduled}")
                return float(milliseconds) / 1e3

            tables = sample(ask)
            if parallel.link is None:
                return tables
            return replace(tables, all_reduce_s=_all_reduces(folder, system, size, _split(model, parallel)))
        except (ValueError, RuntimeError, KeyError) as error:
            raise _refused(model, gpu, size, error) from None


def _all_reduces(folder: str, system: str, size: int, split: dict[str, Any]) -> NDArray[np.float64]:
    """Return the seconds that the package gives to all-reduces of a step, for each number of tokens of the grid."""
    from aiconfigurator_core import AicEngine
    from aiconfigurator_core.sdk.engine import compile_engine

    engine = AicEngine.from_spec(compile_engine(folder, system, "vllm", "current", tp_size=size, **split))
    names = [str(name) for name, *_ in engine.decode_step_per_op(1, 1, 2)]
    places = [place for place, name in enumerate(names) if _ALL_REDUCE.search(name)]
    asked = [engine.evaluate_generation_ops(places, tokens, 1) for tokens in TOKENS]
    return np.array([sum([float(milliseconds) for _, milliseconds, *_ in ops]) / 1e3 for ops in asked])


def _refused(model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())[:200]
    return ConfigError(f"aiconfigurator refuses {model.name} on {tensor_parallel_size} x {gpu.name}: {reason}")


@contextmanager
def _model_folder(config: dict[str, Any]) -> Iterator[str]:
    """Yield a folder with the configuration, because the package downloads any model given by name alone."""
    with tempfile.TemporaryDirectory(prefix="continuum-sim-") as folder:
        write_text(Path(folder) / "config.json", json.dumps(config))
        yield folder


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the package's notes about tables of other models."""
    logger = logging.getLogger("aiconfigurator_core")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _read(path: Path, key: str) -> StepTables | None:
    """Read cached tables; None if there are none, or they are outdated or broken."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            found = StepTables(kept["prefill_s"], kept["decode_s"], kept["overlap_s"])
            return replace(found, all_reduce_s=kept["all_reduce_s"]) if "all_reduce_s" in kept else found
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _write(path: Path, key: str, tables: StepTables) -> None:
    """Cache tables for the next run; does nothing if the cache cannot be written."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, seeks=True) as file:
            kept = {item.name: getattr(tables, item.name) for item in fields(tables)}
            np.savez(file, key=key, **{name: table for name, table in kept.items() if len(table)})


def _make(argument: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> StepTime:
    settings = read_settings(argument, ("host_overhead_s",), "aiconfigurator")
    return load_aiconfigurator(model, gpu, parallel, **settings)


STEP_TIME = StepTimeKind("aiconfigurator", _make, kernels=True)
