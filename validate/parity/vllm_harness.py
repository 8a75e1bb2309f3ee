"""vLLM's scheduler without an engine: built on a tiny model, fed with made-up samples, on any clock.

The only file in this folder that imports vLLM, and only inside functions.
"""

from __future__ import annotations

import importlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.speculation.config import EAGLE_METHODS
from continuum_sim.errors import ConfigError
from continuum_sim.validate.session.tiny import write_tiny_model
from continuum_sim.vllm_defaults import MIRRORED_VERSIONS, nearest_mirrored, version_numbers


def installed_vllm() -> str | None:
    """Return the version of the vLLM that is imported here, whatever the distribution is called; None without one."""
    try:
        return str(importlib.import_module("vllm.version").__version__)
    except ImportError:
        return None


def mirrored_version(installed: str) -> str:
    """Return the mirrored version that is the installed one, or the newest; older ones are refused.

    Raises
    ------
    ConfigError
        If the installed version is older than any mirrored.
    """
    if version_numbers(installed) < version_numbers(MIRRORED_VERSIONS[0]):
        raise ConfigError(f"vLLM {installed} is older than {MIRRORED_VERSIONS[0]}, the oldest that is mirrored")
    return nearest_mirrored(installed)


def make_vllm_scheduler(
    config: EngineConfig,
    scheduler_cls: type | None = None,
    additional_config: dict[str, Any] | None = None,
) -> Any:
    """Build a vLLM V1 scheduler with these settings.

    Parameters
    ----------
    scheduler_cls
        The class to build; by default vLLM's own `Scheduler`, or `AsyncScheduler` with asynchronous scheduling.
    additional_config
        Passed on as `VllmConfig.additional_config`, from which the plug-in reads its settings.
    """
    from vllm.config import (
        CacheConfig,
        DeviceConfig,
        ModelConfig,
        ParallelConfig,
        SchedulerConfig,
        SpeculativeConfig,
        VllmConfig,
    )
    from vllm.config.kv_transfer import KVTransferConfig
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder), max_position_embeddings=config.max_model_len)
        model_config = ModelConfig(
            model=str(model),
            skip_tokenizer_init=True,
            dtype="float32",
            max_model_len=config.max_model_len,
            seed=0,
        )
    cache_config = CacheConfig(block_size=config.block_size, enable_prefix_caching=config.enable_prefix_caching)
    cache_config.num_gpu_blocks = config.num_gpu_blocks
    cache_config.prefix_cache_retention_interval = config.prefix_cache_retention_interval
    if any(group.kind == "recurrent" for group in config.kv_cache_groups) and config.enable_prefix_caching:
        cache_config.mamba_cache_mode = "align"
        cache_config.mamba_block_size = config.block_size
    speculative_config = None
    if config.speculation is not None:
        speculative_config = SpeculativeConfig(
            method="ngram",
            num_speculative_tokens=config.speculation.num_speculative_tokens,
            disable_eagle_block_drop=config.speculation.disable_eagle_block_drop,
            target_model_config=model_config,
            target_parallel_config=ParallelConfig(),
        )
    transfers = None
    if config.tiers is not None:
        chunks = config.tiers.dram_blocks // config.tiers.blocks_per_chunk
        cache_config.kv_offloading_size = chunks * _chunk_bytes(config) / 2**30
        told = ("eviction_policy", "offload_prompt_only", "blocks_per_chunk")
        transfers = KVTransferConfig(kv_connector_extra_config={key: getattr(config.tiers, key) for key in told})
    vllm_config = VllmConfig(
        speculative_config=speculative_config,
        model_config=model_config,
        cache_config=cache_config,
        scheduler_config=SchedulerConfig(
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_num_seqs=config.max_num_seqs,
            max_model_len=config.max_model_len,
            is_encoder_decoder=False,
            async_scheduling=False,
            watermark=config.watermark,
            scheduler_reserve_full_isl=config.scheduler_reserve_full_isl,
            max_num_active_seqs=config.max_num_active_seqs,
            long_prefill_token_threshold=config.long_prefill_token_threshold,
            long_prefill_token_threshold_adaptive=config.long_prefill_token_threshold_adaptive,
            enable_chunked_prefill=config.enable_chunked_prefill,
            policy=config.scheduling_policy,
            prefill_schedule_interval=config.prefill_schedule_interval,
        ),
        device_config=DeviceConfig("cpu"),
        kv_transfer_config=transfers,
        additional_config=additional_config or {},
    )
    vllm_config.scheduler_config.async_scheduling = config.async_scheduling  # the CPU platform refuses it
    vllm_config.parallel_config.pipeline_parallel_size = config.pipeline_parallel_size
    if config.speculation is not None:  # any method but this one would have wanted a drafter's weights
        vllm_config.speculative_config.method = config.speculation.method
        if config.speculation.disable_lookahead_block_hashes:
            vllm_config.speculative_config.disable_lookahead_block_hashes = True
    groups = _groups(config)
    kv_cache_config = KVCacheConfig(
        num_blocks=config.num_gpu_blocks,
        kv_cache_tensors=[],
        kv_cache_groups=[
            KVCacheGroupSpec(
                [f"layer {n}"], _kv_cache_spec(group, cache_config, config), is_eagle_group=_has_drafter(config, n)
            )
            for n, group in enumerate(groups)
        ],
        prefix_cache_retention_interval=config.prefix_cache_retention_interval,
    )
    scheduler_block_size, hash_block_size = hashed_blocks(config)
    with _model_runner_v2() if config.pipelined else nullcontext():
        return (scheduler_cls or (AsyncScheduler if config.async_scheduling else Scheduler))(
            vllm_config=vllm_config,
            kv_cache_config=kv_cache_config,
            structured_output_manager=StructuredOutputManager(vllm_config),
            block_size=scheduler_block_size,
            hash_block_size=hash_block_size,
        )


@contextmanager
def _model_runner_v2() -> Iterator[None]:
    """Let vLLM take the model runner that is its default on GPUs, on which the depth of its batch queue depends."""
    name = "VLLM_USE_V2_MODEL_RUNNER"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _chunk_bytes(config: EngineConfig) -> int:
    """Return the bytes of a chunk in host memory, which vLLM takes to hold a block of every group."""
    from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec

    assert config.tiers is not None
    alignment = int(CPUOffloadingSpec.BLOCK_SIZE_ALIGNMENT)
    block_bytes = sum(int(_kv_cache_spec(group, None, config).page_size_bytes) for group in _groups(config))
    return -(-block_bytes * config.tiers.blocks_per_chunk // alignment) * alignment


def _groups(config: EngineConfig) -> tuple[GroupSpec, ...]:
    return config.kv_cache_groups or (GroupSpec("full", config.block_size),)


def _has_drafter(config: EngineConfig, number: int) -> bool:
    """Return whether vLLM marks a group as the drafter's (`_annotate_eagle_groups`)."""
    speculation = config.speculation
    if speculation is None or speculation.method not in EAGLE_METHODS or speculation.disable_eagle_block_drop:
        return False
    return number == config.drafter_group


def hashed_blocks(config: EngineConfig) -> tuple[int, int]:
    """Return the tokens that hits are a multiple of, and those of a hash (`resolve_kv_cache_block_sizes`)."""
    sizes = [group.block_size for group in config.kv_cache_groups] or [config.block_size]
    alignment = math.lcm(*sizes)
    return alignment, math.gcd(*sizes) if config.enable_prefix_caching else alignment


def _kv_cache_spec(group: GroupSpec, cache_config: Any, config: EngineConfig) -> Any:
    """Return vLLM's spec of a group's layers, as small as possible."""
    import torch
    from vllm.v1.kv_cache_interface import ChunkedLocalAttentionSpec, FullAttentionSpec, MambaSpec, SlidingWindowSpec

    if group.kind == "recurrent":
        return MambaSpec(
            block_size=group.block_size,
            shapes=((1,),),
            dtypes=(torch.float32,),
            mamba_cache_mode="none" if cache_config is None else cache_config.mamba_cache_mode,
            num_speculative_blocks=0 if config.speculation is None else config.speculation.num_speculative_tokens,
            num_prefill_checkpoint_blocks=int(group.checkpoints),
            prefill_checkpoint_alignment=1 if group.checkpoints else None,
        )
    shape = {"block_size": group.block_size, "num_kv_heads": 1, "head_size": 1, "dtype": torch.float32}
    if group.kind == "sliding":
        return SlidingWindowSpec(**shape, sliding_window=group.window)
    if group.kind == "chunked":
        return ChunkedLocalAttentionSpec(**shape, attention_chunk_size=group.window)
    return FullAttentionSpec(**shape)


class RequestFactory:
    """Makes vLLM requests that generate a fixed number of tokens, or as many as come before a stop token."""

    def __init__(self, block_size: int, *, caches: bool = True, hashed_ahead: int = 0) -> None:
        from vllm.sampling_params import SamplingParams
        from vllm.utils.hashing import get_hash_fn_by_name
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
        from vllm.v1.request import Request

        hash_function = get_hash_fn_by_name("sha256")  # vLLM's default
        init_none_hash(hash_function)
        ahead = {"num_hash_lookahead_tokens": hashed_ahead} if hashed_ahead else {}
        self._hasher = get_request_block_hasher(block_size, hash_function, **ahead) if caches else None
        self._arrivals = count()
        self._request = Request
        self._params = SamplingParams

    def make(
        self,
        request_id: str,
        prompt_token_ids: Sequence[int],
        max_tokens: int,
        extra_args: dict[str, Any] | None = None,
        stop_token: int | None = None,
        priority: int = 0,
    ) -> Any:
        """Make a request; a plug-in finds the program's identity in `extra_args`."""
        params = self._params(
            max_tokens=max_tokens,
            min_tokens=max_tokens if stop_token is None else 0,
            stop_token_ids=None if stop_token is None else [stop_token],
            ignore_eos=True,
            extra_args=extra_args,
        )
        return self._request(
            request_id=request_id,
            prompt_token_ids=list(prompt_token_ids),
            sampling_params=params,
            pooling_params=None,
            block_hasher=self._hasher,
            priority=priority,
            arrival_time=float(next(self._arrivals)),  # in order, without ties
        )


def abort_request(scheduler: Any, request_id: str) -> None:
    """Abort a request as the engine does when it hears that the client has left."""
    from vllm.v1.request import RequestStatus

    scheduler.finish_requests(request_id, RequestStatus.FINISHED_ABORTED)


def propose_drafts(scheduler: Any, names: Sequence[str], drafts: int) -> None:
    """Give every request of a step that is over the drafts that its next step verifies, as `EngineCore.post_step`."""
    from vllm.v1.outputs import DraftTokenIds

    scheduler.update_draft_token_ids(DraftTokenIds(list(names), [[1] * drafts for _ in names]))


def model_output(sampled: dict[str, list[int]], transferred: Any = None) -> Any:
    """Wrap each scheduled request's samples (an empty list mid-prefill) as vLLM's model runner output."""
    from vllm.v1.outputs import ModelRunnerOutput

    return ModelRunnerOutput(
        req_ids=list(sampled),
        req_id_to_index={name: i for i, name in enumerate(sampled)},
        sampled_token_ids=list(sampled.values()),
        kv_connector_output=transferred,
    )


def connector_output(transfers: Iterable[int], loaded: Iterable[str]) -> Any:
    """Return what a worker reports of transfers that are over, by the connector's numbers, and of requests loaded."""
    from vllm.distributed.kv_transfer.kv_connector.v1.offloading.common import OffloadingWorkerMetadata
    from vllm.v1.outputs import KVConnectorOutput

    worker = OffloadingWorkerMetadata()
    for number in transfers:
        worker.mark_completed(number)
    return KVConnectorOutput(finished_recving=set(loaded), kv_connector_worker_meta=worker)


def tell_transferred(scheduler: Any, transfers: Iterable[int], loaded: Iterable[str]) -> None:
    """Report transfers as a worker does that polls them in a step without tokens."""
    from vllm.v1.core.sched.output import SchedulerOutput

    scheduler.update_from_output(SchedulerOutput.make_empty(), model_output({}, connector_output(transfers, loaded)))


class InOrder(set[str]):
    """A set that is iterated in the order of insertion; vLLM's order of strings differs from process to process."""

    def __init__(self) -> None:
        super().__init__()
        self._items: dict[str, None] = {}

    def add(self, item: str) -> None:
        """Add an item at the end."""
        super().add(item)
        self._items[item] = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)
