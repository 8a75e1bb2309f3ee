"""Groups of layers drawn at random are those that vLLM's own functions make of them, where it is installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.caches import CacheLayers, State
from continuum_sim.hardware.groups import Groups, Layout, cache_groups
from continuum_sim.hardware.kv_cache_spec import KVCacheSpec, cached_layers

pytestmark = [pytest.mark.engine, pytest.mark.slow]

WINDOWS = st.sampled_from([64, 128, 1024])
HEADS = st.sampled_from([1, 2, 3, 4, 8])
HEAD_DIMS = st.sampled_from([64, 96, 128, 256])


def _attention(kind: Any) -> st.SearchStrategy[CacheLayers]:
    windows = WINDOWS if kind in ("sliding", "chunked") else st.none()
    return st.builds(CacheLayers, st.just(kind), st.just(()), n_kv_heads=HEADS, head_dim=HEAD_DIMS, window=windows)


LATENT = st.builds(
    CacheLayers,
    st.just("mla"),
    st.just(()),
    head_dim=st.sampled_from([128, 512, 576]),
    value_dim=st.just(0),
    window=st.none() | WINDOWS,
    block_size=st.sampled_from([None, None, 4, 64]),
    state_content_bytes=st.sampled_from([None, 132, 584]),
    tokens_per_state=st.sampled_from([1, 1, 4]),
    alignment=st.sampled_from([1, 576]),
)
RECURRENT = st.builds(
    CacheLayers,
    st.just("recurrent"),
    st.just(()),
    states=st.lists(
        st.builds(State, st.tuples(st.sampled_from([3, 16]), st.sampled_from([512, 2048])), st.just(1)),
        min_size=1,
        max_size=2,
    ).map(tuple),
    num_prefill_checkpoint_blocks=st.sampled_from([0, 1]),
)
KINDS = st.one_of(*map(_attention, ("full", "sliding", "chunked")), LATENT, RECURRENT)


@st.composite
def models(draw: st.DrawFn) -> tuple[CacheLayers, ...]:
    kinds = draw(st.lists(KINDS, min_size=1, max_size=4))
    order = draw(st.lists(st.sampled_from(range(len(kinds))), min_size=1, max_size=24))
    placed = [tuple(layer for layer, kind in enumerate(order) if kind == place) for place in range(len(kinds))]
    made = [
        CacheLayers(**{name: getattr(kind, name) for name in kind.__dataclass_fields__} | {"layers": layers})
        for kind, layers in zip(kinds, placed, strict=True)
        if layers
    ]
    return tuple(made)


@settings(max_examples=200)
@given(
    caches=models(),
    layout=st.sampled_from(["LBNHC", "BLNHC"]),
    kv_mib=st.integers(1, 2**16),
    tokens=st.sampled_from([128, 2048, 8192]),
    max_model_len=st.integers(1, 200_000),
    prefix_caching=st.booleans(),
    hybrid=st.sampled_from([True, True, False]),
)
def test_groups_are_those_of_vllm(
    caches: tuple[CacheLayers, ...],
    layout: Layout,
    kv_mib: int,
    tokens: int,
    max_model_len: int,
    prefix_caching: bool,
    hybrid: bool,
) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    layers, _ = cached_layers(
        caches,
        tensor_parallel_size=1,
        block_size=16,
        element_bytes=2,
        max_model_len=max_model_len,
        prefix_caching=prefix_caching,
    )
    # Unless it packs pages that differ, vLLM takes windows of MLA for alike that are not: no model has such.
    kept = {spec for _, spec in layers}
    windows = {spec for spec in kept if spec.kind == "mla" and spec.window is not None}
    packed = layout == "BLNHC" and len({spec.page_size_bytes for spec in kept}) > 1 and windows != kept
    assume(len(windows) < 2 or packed)
    attends = any(cache.kind != "recurrent" for cache in caches)
    config = _config(layout, tokens, max_model_len, "align" if attends and prefix_caching else "none")
    config.scheduler_config.disable_hybrid_kv_cache_manager = not hybrid
    kv_bytes = kv_mib * 2**20
    try:
        groups = cache_groups(
            caches, max_model_len=max_model_len, layout=layout, prefix_caching=prefix_caching, hybrid=hybrid
        )
    except ConfigError:
        with pytest.raises((AssertionError, NotImplementedError, StopIteration, TypeError, ValueError)):
            _asked(config, [spec for _, spec in layers], 2**60)
        return
    enough = _asked(config, [spec for _, spec in layers], 2**60)
    assert [[layers[int(name)].layer for name in group.layer_names] for group in enough.kv_cache_groups] == [
        list(group.layers) for group in groups.groups
    ]
    assert [group.kv_cache_spec.block_size for group in enough.kv_cache_groups] == [
        group.block_size for group in groups.groups
    ]
    assert groups.num_blocks(2**60) == enough.num_blocks
    assert (
        groups.capacity_tokens(2**60, max_model_len, tokens),
        groups.max_concurrency(2**60, max_model_len, tokens),
    ) == (_capacity(config, enough))
    _check_start(config, [spec for _, spec in layers], groups, kv_bytes, tokens)


def _check_start(config: Any, specs: Sequence[KVCacheSpec], groups: Groups, kv_bytes: int, tokens: int) -> None:
    length = config.model_config.max_model_len
    longest = groups.estimate_max_model_len(kv_bytes, length, tokens)
    if groups.starts(kv_bytes, length, tokens):
        assert longest == length
        _asked(config, specs, kv_bytes)
        return
    with pytest.raises(ValueError, match="KV cache is needed|No available memory") as refused:
        _asked(config, specs, kv_bytes)
    said = re.search(r"estimated maximum model length is (\d+)", str(refused.value))
    assert longest == (int(said[1]) if said else 0)


def _config(layout: Layout, max_num_batched_tokens: int, max_model_len: int, mamba_cache_mode: str) -> Any:
    from vllm.v1.kv_cache_layout import KVCacheLayout

    cache = SimpleNamespace(
        mamba_cache_mode=mamba_cache_mode,
        num_gpu_blocks_override=None,
        prefix_cache_retention_interval=None,
        get_resolved_kv_cache_layout=lambda: KVCacheLayout[layout],
    )
    return SimpleNamespace(
        cache_config=cache,
        model_config=SimpleNamespace(max_model_len=max_model_len, original_max_model_len=None),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        parallel_config=SimpleNamespace(tensor_parallel_size=1, decode_context_parallel_size=1),
        attention_config=SimpleNamespace(hisparse_config=None),
        speculative_config=None,
        num_prefill_lookahead_tokens=0,
        max_in_flight_tokens=max_num_batched_tokens,
    )


def _asked(config: Any, specs: Sequence[KVCacheSpec], kv_bytes: int) -> Any:
    from vllm.v1.core.kv_cache_utils import get_kv_cache_configs

    named = {str(place): _vllm_spec(spec) for place, spec in enumerate(specs)}
    return get_kv_cache_configs(config, [named], [kv_bytes])[0]


def _capacity(config: Any, cache: Any) -> tuple[int, float]:
    from vllm.v1.core.kv_cache_utils import get_kv_cache_capacity

    capacity: tuple[int, float] = get_kv_cache_capacity(config, cache)
    return capacity


def _vllm_spec(spec: KVCacheSpec) -> Any:
    import torch
    from vllm.v1 import kv_cache_interface as vllm

    if spec.kind == "recurrent":
        return vllm.MambaSpec(
            block_size=spec.block_size,
            shapes=spec.shapes,
            dtypes=(torch.bfloat16,) * len(spec.shapes),
            page_size_padded=spec.page_size_padded,
            num_prefill_checkpoint_blocks=spec.num_prefill_checkpoint_blocks,
        )
    fields: dict[str, Any] = {
        "block_size": spec.block_size,
        "num_kv_heads": spec.num_kv_heads,
        "head_size": spec.head_size,
        "dtype": torch.bfloat16,
        "page_size_padded": spec.page_size_padded,
        "tokens_per_state": spec.tokens_per_state,
        "state_content_bytes": spec.state_content_bytes,
    }
    if spec.kind == "mla" and spec.window is None:
        return vllm.MLAAttentionSpec(**fields)
    if spec.kind == "mla":
        return vllm.SlidingWindowMLASpec(**fields, sliding_window=spec.window)
    if spec.kind == "full":
        return vllm.FullAttentionSpec(**fields, head_size_v=spec.head_size_v)
    if spec.kind == "sliding":
        return vllm.SlidingWindowSpec(**fields, head_size_v=spec.head_size_v, sliding_window=spec.window)
    return vllm.ChunkedLocalAttentionSpec(**fields, head_size_v=spec.head_size_v, attention_chunk_size=spec.window)
