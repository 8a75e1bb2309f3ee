"""Assign caches to groups: vLLM's `get_kv_cache_groups` and the functions it calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.kv_cache_spec import CachedLayer, KVCacheSpec, unified_page_size

Layers = list[CachedLayer]
T = TypeVar("T")


def get_kv_cache_groups(layers: Sequence[CachedLayer], *, block_outermost: bool) -> list[Layers]:
    """Split a model's caches, in order, into groups that share a block table.

    Parameters
    ----------
    layers
        At least one layer.
    block_outermost
        True if the pages of a block are contiguous, so that they may differ in size.

    Raises
    ------
    ConfigError
        If vLLM does not start with these layers.
    """
    first = layers[0].spec
    if all(first.is_uniform_with(spec) for _, spec in layers):
        return [list(layers)]
    if block_outermost and len({spec.page_size_bytes for _, spec in layers}) > 1:
        return _packed_groups(layers)
    unified = unified_page_size(layers)
    if unified is None:
        whole = None if any(spec.kind == "chunked" for _, spec in layers) else all_kept_whole(layers)
        if whole is None:
            raise ConfigError("vLLM does not start: pages of MLA cannot be made as large as those of the other layers")
        return [whole]
    return _groups_of_one_page_size(unified)


def _groups_of_one_page_size(layers: Sequence[CachedLayer]) -> list[Layers]:
    """Split layers of each kind into equally large groups (`_get_kv_cache_groups_uniform_page_size`)."""
    alike: defaultdict[KVCacheSpec, Layers] = defaultdict(list)
    for one in layers:
        alike[one.spec].append(one)
    fewest, most = min(map(len, alike.values())), max(map(len, alike.values()))
    # A kind with slightly more layers than another would fill a second group mostly with padding.
    size = most if most < fewest * 1.5 else fewest
    return [group for found in alike.values() for group in _dealt(found, -(-len(found) // size))]


def _packed_groups(layers: Sequence[CachedLayer]) -> list[Layers]:
    """Split layers with different page sizes into groups of about equal bytes (`_get_packed_kv_cache_groups`)."""
    buckets = [_Bucket(found) for found in _uniform_buckets(layers)]
    # Equal numbers of layers of several page sizes are a pattern, which stays together: the number of its repeats is
    # the least number of other layers per group.
    least = max((bucket.repeats for bucket in buckets if bucket.balanced and len(bucket.by_page) > 1), default=0)
    repeats = _approximate_gcd([bucket.repeats for bucket in buckets if bucket.balanced], least) if least else None

    def groups_by_pattern(bucket: _Bucket) -> int:
        return -(-bucket.repeats // repeats) if bucket.balanced and repeats is not None else 1

    def is_state(bucket: _Bucket) -> bool:
        return bucket.first.kind == "recurrent" or (repeats is None and bucket.slides)

    # Bytes that a block needs regardless of states and windows, whose buckets are then split to fit into it.
    anchor_bytes = max(
        bucket.widest_group_bytes(bucket.n_layers if is_state(bucket) else groups_by_pattern(bucket))
        for bucket in buckets
    )
    groups = []
    for bucket in buckets:
        n_groups = groups_by_pattern(bucket)
        if is_state(bucket):
            n_groups = max(n_groups, -(-bucket.n_layers // max(anchor_bytes // bucket.first.page_size_bytes, 1)))
        groups += bucket.dealt(n_groups)
    if sum(map(len, groups)) != len(layers):
        raise ConfigError("vLLM does not start: some layers are not assigned to any KV cache group")
    return groups


class _Bucket:
    """Caches that could be in one group."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.by_page: dict[int, Layers] = {}
        for one in layers:
            self.by_page.setdefault(one.spec.page_size_bytes, []).append(one)
        counts = [len(found) for found in self.by_page.values()]
        self.n_layers = len(layers)
        self.first = layers[0].spec
        self.balanced = len(set(counts)) == 1
        self.repeats = max(counts)
        self.slides = self.first.window is not None and self.first.kind != "chunked"

    def widest_group_bytes(self, n_groups: int) -> int:
        return sum(-(-len(found) // n_groups) * page for page, found in self.by_page.items())

    def dealt(self, n_groups: int) -> list[Layers]:
        if n_groups == 1:
            return [self.layers]
        # As in vLLM, which counts whole repeats of the pattern: layers beyond them are lost, and it does not start.
        repeats = list(zip(*self.by_page.values(), strict=False))
        return [[one for repeat in part for one in repeat] for part in _dealt(repeats, n_groups)]


def _uniform_buckets(layers: Iterable[CachedLayer]) -> list[Layers]:
    buckets: list[Layers] = []
    for one in layers:
        for bucket in buckets:
            if bucket[0].spec.is_uniform_with(one.spec):
                bucket.append(one)
                break
        else:
            buckets.append([one])
    return buckets


def _approximate_gcd(counts: Sequence[int], least: int) -> int:
    """Return the number, at least `least`, whose multiples are closest below the counts; the larger of equally good."""
    return min(range(least, max(counts) + 1), key=lambda size: (sum(-count % size for count in counts), -size))


def _dealt(items: Sequence[T], n_groups: int) -> list[list[T]]:
    """Deal items out in turn, so that pipeline stages hold about as many of each group."""
    return [list(items[start::n_groups]) for start in range(n_groups)]


def all_kept_whole(layers: Sequence[CachedLayer]) -> Layers | None:
    """Let layers with windows or chunks keep all tokens if others do (`_promote_local_kv_cache_specs`).

    Returns None if that does not leave layers that could be in one group.
    """
    first = layers[0].spec
    if all(first.is_uniform_with(spec) for _, spec in layers):
        return list(layers)
    if any(spec.kind == "mla" and spec.window is not None for _, spec in layers):
        return None  # vLLM 0.32 fails to: `MLAAttentionSpec.__init__() got an unexpected keyword argument`
    sizes = {spec.block_size for _, spec in layers if _keeps_all(spec)}
    if sizes:
        if len({(spec.kind, spec.window) for _, spec in layers if spec.window is not None}) > 1:
            return None  # of layers that keep all tokens, vLLM merges the windows and chunks they attend to
        block_size = sizes.pop() if len(sizes) == 1 else None
        layers = [CachedLayer(layer, _kept_whole(spec, block_size)) for layer, spec in layers]
    first = layers[0].spec
    return list(layers) if all(first.is_uniform_with(spec) for _, spec in layers) else None


def _keeps_all(spec: KVCacheSpec) -> bool:
    return spec.window is None and spec.kind != "recurrent"


def _kept_whole(spec: KVCacheSpec, block_size: int | None) -> KVCacheSpec:
    if spec.window is None:
        return spec
    whole = replace(
        spec,
        kind="full",
        window=None,
        block_size=block_size or spec.block_size,
    )
    padded = spec.page_size_padded
    return whole if padded is None else replace(whole, page_size_padded=max(padded, whole.unpadded_page_size_bytes))
