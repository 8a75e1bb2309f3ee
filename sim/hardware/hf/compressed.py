"""DeepSeek V4: a window of latent vectors, and beyond it one vector for every 4 or 128 tokens.

vLLM 0.32 keeps (`models/deepseek_v4`) the window, the compressed vectors, for those of 4 tokens also an
indexer's, and for each compressor the tokens not compressed yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import FP32, Weight

_TOKEN_BYTES: Final = 584
"""A stored latent vector of 512: 448 elements in fp8, 64 rotary ones in bf16, 7 scales and a byte of padding."""

_ALIGNED_BYTES: Final = 576
"""Pages are padded to a multiple of this."""

_INDEXED: Final = 4
"""Compression ratio of the vectors among which an indexer chooses."""

_WINDOW_BLOCK: Final = 64
_STATE_BLOCKS: Final = {4: 4, 128: 8}
"""Tokens per page of those not compressed yet, by compression ratio."""


def compressed_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of the layers, and of the `hc_mult` streams that connect them."""
    ratios = fields.each("compress_ratios")
    if ratios is None or len(ratios) < len(layers) or not all(isinstance(ratio, int) for ratio in ratios):
        raise fields.error("compress_ratios", ratios, f"{len(layers)} numbers, one a layer")
    by_ratio: dict[int, list[int]] = {}
    for layer in layers:
        by_ratio.setdefault(ratios[layer], []).append(layer)
    caches, weights = [_window(fields, layers)], _projections(fields, tuple(layers))
    for ratio, of_them in by_ratio.items():
        if ratio in _STATE_BLOCKS:
            kept, held = _compressor(fields, tuple(of_them), ratio)
            caches += kept
            weights += held
        elif ratio > 1:
            raise fields.error("compress_ratios", ratio, "0, 4 or 128")
    return caches, weights + _streams(fields, tuple(layers))


def _window(fields: Fields, layers: Sequence[int]) -> CacheLayers:
    window = fields.count("sliding_window")
    return _vectors(fields, layers, window=window, block_size=_WINDOW_BLOCK, state_content_bytes=_TOKEN_BYTES)


def _vectors(fields: Fields, layers: Sequence[int], head_dim: int | None = None, **stored: Any) -> CacheLayers:
    size = fields.count("head_dim") if head_dim is None else head_dim
    n_heads = fields.count("num_attention_heads") if head_dim is None else 0
    return CacheLayers("mla", tuple(layers), n_heads, 1, size, value_dim=0, alignment=_ALIGNED_BYTES, **stored)


def _compressor(fields: Fields, layers: tuple[int, ...], ratio: int) -> tuple[list[CacheLayers], list[Weight]]:
    head_dim, at = fields.count("head_dim"), "model.layers.{}.attn."
    # The indexer chooses among vectors, each of which stands for so many tokens.
    chosen = ratio * fields.count("index_topk") if ratio == _INDEXED and fields.get("index_topk") else None
    caches = [
        _vectors(fields, layers, state_content_bytes=_TOKEN_BYTES, tokens_per_state=ratio, chosen=chosen),
        _uncompressed(fields, layers, head_dim, ratio),
    ]
    weights = _compressor_weights(fields, layers, at, head_dim, ratio)
    if ratio == _INDEXED:
        key, n_keys = fields.count("index_head_dim", default=128), fields.count("index_n_heads")
        stored = key + key // 128 * 4  # fp8, and a scale in fp32 for each 128
        index = _vectors(
            fields,
            layers,
            stored,
            state_content_bytes=stored,
            tokens_per_state=ratio,
            index_heads=n_keys,
            index_dim=key,
        )
        caches = [index, _uncompressed(fields, layers, key, ratio), *caches]  # in vLLM's order
        weights += [
            Weight(f"{at}indexer.wq_b", n_keys * key, fields.count("q_lora_rank"), layers),
            Weight(f"{at}indexer.weights_proj", n_keys, fields.count("hidden_size"), layers),
            *_compressor_weights(fields, layers, f"{at}indexer.", key, ratio),
        ]
    return caches, weights


def _overlap(ratio: int) -> int:
    """Return 2 for compressors of 4 tokens, which also read the 4 before with separate weights, otherwise 1."""
    return 2 if ratio == _INDEXED else 1


def _uncompressed(fields: Fields, layers: tuple[int, ...], head_dim: int, ratio: int) -> CacheLayers:
    """Return the cache of values and gates, in fp32, of the tokens that the next vector will be made of."""
    numbers, window = 2 * _overlap(ratio) * head_dim, _overlap(ratio) * ratio
    block = _STATE_BLOCKS[ratio]
    return _vectors(fields, layers, numbers, window=window, block_size=block, state_content_bytes=4 * numbers)


def _compressor_weights(fields: Fields, layers: tuple[int, ...], at: str, head_dim: int, ratio: int) -> list[Weight]:
    wide, hidden = _overlap(ratio) * head_dim, fields.count("hidden_size")
    return [
        Weight(f"{at}compressor.fused_wkv_wgate", 2 * wide, hidden, layers),
        Weight(f"{at}compressor.ape", ratio, wide, layers, use="vector", stored=FP32),
        Weight(f"{at}compressor.norm", head_dim, layers=layers, use="vector"),
    ]


def _projections(fields: Fields, layers: tuple[int, ...]) -> list[Weight]:
    hidden, n_heads, head_dim = (
        fields.count("hidden_size"),
        fields.count("num_attention_heads"),
        fields.count("head_dim"),
    )
    latent, groups, of_group = fields.count("q_lora_rank"), fields.count("o_groups"), fields.count("o_lora_rank")
    at = "model.layers.{}.attn."
    return [
        Weight(f"{at}wq_a", latent, hidden, layers),
        Weight(f"{at}wkv", head_dim, hidden, layers),
        Weight(f"{at}wq_b", n_heads * head_dim, latent, layers, parts=n_heads),
        Weight(f"{at}wo_a", groups * of_group, n_heads * head_dim // groups, layers, parts=groups),
        Weight(f"{at}wo_b", hidden, groups * of_group, layers, parts=groups),
        Weight(f"{at}q_norm", latent, layers=layers, use="vector"),
        Weight(f"{at}kv_norm", head_dim, layers=layers, use="vector"),
        Weight(f"{at}attn_sink", n_heads, layers=layers, parts=n_heads, use="vector", stored=FP32),
    ]


def _streams(fields: Fields, layers: tuple[int, ...]) -> list[Weight]:
    """Return hyper-connections: matrices that mix several residual streams before and after each part of a layer."""
    streams, hidden = fields.count("hc_mult", default=1), fields.count("hidden_size")
    rows, columns = (2 + streams) * streams, streams * hidden

    def exact(name: str, rows: int, columns: int, of: tuple[int, ...], count: int = 1) -> Weight:
        return Weight(name, rows, columns, of, count, use="vector", stored=FP32)

    return [
        exact("model.layers.{}.hc_fn", rows, columns, layers, 2),
        exact("model.layers.{}.hc_base_and_scale", rows + 3, 1, layers, 2),
        exact("model.hc_head_fn", streams, columns, ()),
        exact("model.hc_head_base_and_scale", streams + 1, 1, ()),
    ]
