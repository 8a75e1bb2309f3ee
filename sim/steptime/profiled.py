"""Step times composed from kernels measured one by one on the GPU: the times of each layer, times the layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import ONE_GPU, Parallel
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.kind import StepTimeKind, read_path, read_settings
from continuum_sim.steptime.piecewise import Piece
from continuum_sim.steptime.profile_attention import Attention
from continuum_sim.steptime.profile_experts import Experts
from continuum_sim.steptime.profile_tables import Curve, ProfileTables, read_profile
from continuum_sim.steptime.ranked import AmongRanks, graph_tokens
from continuum_sim.steptime.told import Told

_ONCE = {"embedding", "final_layernorm"}
"""Kernels that run once per step; all others run in every layer."""

_SHAPE_FIELDS = {
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "intermediate_size": "intermediate",
    "vocab_size": "vocab",
}


class Profiled(AmongRanks):
    """Σ measured kernels: dense ones by tokens, LM head and sampler by requests, attention by its own four axes.

    Such tables do not include the host's own time: `host_overhead_s` adds a constant to every step, by default 0. Nor
    do those of one of several GPUs include what these tell one another: all-reduces after mixers, MLPs, mixtures and
    the embedding, and the logits that all gather (`_gather_logits` of vllm/model_executor/layers/logits_processor.py)
    come on top, over the link of `gpu` if `parallel` names none.
    """

    def __init__(
        self,
        tables: ProfileTables,
        model: ModelSpec,
        parallel: Parallel = ONE_GPU,
        host_overhead_s: float = 0.0,
        *,
        gpu: GpuSpec | None = None,
    ) -> None:
        if not (isfinite(host_overhead_s) and host_overhead_s >= 0):
            raise ConfigError(f"profiled: host_overhead_s is {host_overhead_s}, expected a finite number, zero or more")
        _check_same_model(tables, model, parallel.tensor_parallel_size)
        self.tables, self.model, self.parallel = tables, model, parallel
        self.host_overhead_s = host_overhead_s
        repeats = {layer: 1 if layer in _ONCE else model.n_layers for layer in tables.dense}
        if "layernorm" in repeats:
            repeats["layernorm"] *= model.norms_per_layer
        self._by_tokens = _Total([(curve, repeats[layer]) for layer, curve in tables.dense.items()])
        self._by_requests = _Total([(curve, 1) for curve in tables.per_sequence.values()])
        self._attention = Attention(tables.attention, model.n_layers)
        self._experts = _experts(tables, model, parallel)
        if parallel.enable_dbo:
            raise ConfigError("--enable-dbo: profiled cannot tell what two halves of a step take: use roofline")
        self._told = Told(model, parallel, gpu)
        self.ranks = parallel.data_parallel_size if self._experts is not None else 1
        self.graph_tokens = graph_tokens(gpu)

    def pieces_among(self, batch: StepBatch, n_steps: int, all_tokens: int, *, halved: bool = False) -> Sequence[Piece]:
        """Cut where a context passes a node of the attention table; between cuts, at most quadratic."""
        requests = batch.prefill_requests + batch.decode_requests
        fixed_s = (
            self.host_overhead_s
            + self._by_tokens(batch.prefill_tokens + batch.decode_requests)
            + self._by_requests(requests)
        )
        if self._experts is not None:
            fixed_s += self._experts.time_s(all_tokens)
        if self._told.anything:
            fixed_s += self._told.seconds(batch.prefill_tokens + batch.decode_requests, requests, all_tokens)
        return [(n, fixed_s + a, b, c) for n, a, b, c in self._attention.pieces(batch, n_steps)]

    def describe(self) -> dict[str, Any]:
        """Folder, model, and the tables' own metadata."""
        said = ("gpu", "model", "vllm_version", "cuda_version", "profiled_at", "variant")
        return {
            "kind": "profiled",
            "model": self.model.name,
            **self.parallel.describe(),
            "host_overhead_s": self.host_overhead_s,
            **self._told.describe(),
            "provenance": {
                "folder": str(self.tables.folder),
                **({} if self.tables.skew is None else {"unequal_contexts": self.tables.skew.describe()}),
                **{key: self.tables.meta[key] for key in said if key in self.tables.meta},
            },
        }


def load_profiled(
    folder: Path,
    model: ModelSpec,
    parallel: Parallel = ONE_GPU,
    host_overhead_s: float = 0.0,
    *,
    gpu: GpuSpec | None = None,
) -> Profiled:
    """Read a folder of kernel times: `dense.csv`, `per_sequence.csv`, `attention.csv`, `moe.csv` of a mixture, and
    optionally `skew.csv` and `meta.yaml`; or one of folders tpN, of which that of the model's split is taken.

    Raises
    ------
    ConfigError
        Naming the file, line and field, or if the folder profiles another model or parallel size.
    """
    return Profiled(read_profile(folder, parallel.tensor_parallel_size), model, parallel, host_overhead_s, gpu=gpu)


def _experts(tables: ProfileTables, model: ModelSpec, parallel: Parallel) -> Experts | None:
    """Return the experts of a mixture, all of whose layers must be alike, and whole if GPUs share them."""
    found = model.expert_weights()
    if tables.experts is None and not found:
        return None
    path = tables.experts_path
    if tables.experts is None:
        raise ConfigError(
            f"{model.name} is a mixture of experts, whose times are missing: there is no {path}; give a profile with "
            "one (tokens,activated_experts,time_us)"
        )
    if not found:
        raise ConfigError(f"{path}: has times of experts, but {model.name} has none: give the model that was profiled")
    routed = {(weight.visited, weight.count) for weight in found}
    layers = {layer for weight in found for layer in weight.layers}
    visited, count = routed.pop()
    if routed or len(layers) != model.n_layers or not visited:
        raise ConfigError(
            f"{path}: is one table for all layers, but not all {model.n_layers} layers of {model.name} have the same "
            "experts: give step times measured on an engine, --step-time fitted:FILE"
        )
    ways, size = parallel.expert_ways, parallel.tensor_parallel_size
    if parallel.enable_expert_parallel and size > 1 and not tables.whole_experts:
        raise ConfigError(f"{path}: times parts of experts, but with --enable-expert-parallel each is on one GPU")
    if not parallel.enable_expert_parallel and ways > (1 if tables.whole_experts else size):
        ranks = parallel.data_parallel_size
        who = f"{ranks} data-parallel ranks" if ranks > 1 else f"{ways} GPUs"
        raise ConfigError(f"{path}: times whole experts, but {who} have a part of each: give --enable-expert-parallel")
    return Experts(tables.experts, visited, count, model.n_layers, ways if parallel.enable_expert_parallel else 1)


class _Total:
    """A sum of curves, tabulated for every count up to the largest one requested so far."""

    def __init__(self, curves: Sequence[tuple[Curve, int]]) -> None:
        self.curves = curves
        self.values: list[float] = []
        self._extend(max((curve.counts[-1] for curve, _ in curves), default=1))

    def __call__(self, count: int) -> float:
        if count >= len(self.values):
            self._extend(2 * count)
        return self.values[count]

    def _extend(self, most: int) -> None:
        tables = [(curve.every(most), times) for curve, times in self.curves]
        self.values = [sum(times * table[count] for table, times in tables) for count in range(most + 1)]


def _check_same_model(tables: ProfileTables, model: ModelSpec, size: int) -> None:
    if any(cache.kind not in ("full", "sliding") or cache.chosen for cache in model.caches):
        raise ConfigError(
            f"{tables.folder}: its attention is that of keys and values, and {model.name} has other layers (latent "
            "vectors, states, chunks): give step times measured on an engine, --step-time fitted:FILE"
        )
    if tables.split not in (None, size):
        raise ConfigError(f"{tables.folder}: profiles a split over {tables.split} GPUs, not over {size}: give tp{size}")
    stated = tables.meta.get("tp_degrees", f"[{size}]")
    sizes = [one.strip() for one in stated.strip("[]").split(",")]
    # A profile of one of several GPUs may state the whole model's shapes or a shard's: of the last split it was run on.
    shards = {size, *(int(one) for one in sizes if one.isdecimal() and int(one))}
    for field, attribute in _SHAPE_FIELDS.items():
        profiled, wanted = tables.meta.get(field), getattr(model, attribute)
        if profiled not in (None, str(wanted), *(str(max(1, wanted // shard)) for shard in shards)):
            raise ConfigError(
                f"{tables.folder}: profiles a model with {field} {profiled}, but {model.name} has {wanted}: give the "
                "model the tables were measured with"
            )
    if str(size) not in sizes:
        raise ConfigError(f"{tables.folder}: profiled with tensor parallel size {', '.join(sizes)}, not {size}")


def _make(argument: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> Profiled:
    # `DIR` or `DIR,host_overhead_s=0.0003`; a comma inside the folder's name does not begin a setting.
    folder, comma, rest = argument.rpartition(",")
    if not comma or "=" not in rest:
        folder, rest = argument, ""
    settings = read_settings(rest, ("host_overhead_s",), "profiled")
    return load_profiled(read_path(folder, "profiled", "DIR"), model, parallel, gpu=gpu, **settings)


STEP_TIME = StepTimeKind("profiled", _make, one_gpu=True, kv_dtypes=False, kernels=True)
