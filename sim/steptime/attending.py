"""What attention takes: seconds per pair of tokens and per cached token, for layers of each shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.kv import kv_heads_per_gpu
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.weights import filled
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.rates import Rates

NO_CAP: Final = 1e18
"""Tokens beyond any context."""

_SPARSE_HEADS: Final = 64
"""`prefill_padding` and `_compute_fp8_decode_padded_heads` of vllm/v1/attention/backends/mla/flashmla_sparse.py."""

_LOGIT_BYTES: Final = 8
"""An indexer writes a score in fp32 for each pair, from which the highest are chosen (`fp8_mqa_logits`)."""


class Attending(NamedTuple):
    """Layers of one shape. All times are of one layer on one GPU."""

    n_layers: int
    window: float
    """Tokens that a query attends to at most; 0 for all."""
    window_read: float
    """Tokens before a chunk of which all its queries together read the cache at most."""
    pair_s: float
    """Computing a pair of a prompt's token and one it attends to."""
    kv_s: float
    """Reading one token's cache for a prompt."""
    context_s: float
    """Expanding one cached token to keys and values of all heads, for a prompt (MLA)."""
    context_read_s: float
    """Writing and reading those keys and values."""
    decode_pair_s: float
    """Computing a token that a decoding request attends to."""
    decode_kv_s: float
    """Reading it."""
    decode_s: float
    """The slower of both."""
    indexes: bool
    """Whether these are the keys of an indexer."""

    def attended_tokens(self, batch: StepBatch) -> float:
        """Return the tokens that all decoding requests attend to."""
        decodes, attended = batch.decode_requests, batch.decode_context_tokens
        return min(attended, decodes * self.window) if self.window else attended


def attending(
    model: ModelSpec, size: int, rates: Rates, but: Callable[[CacheLayers], bool] | None = None
) -> tuple[Attending, ...]:
    """Return all layers that attend to a cache, on one of `size` GPUs, but for those with some kind of cache.

    Raises
    ------
    ConfigError
        If the heads do not divide over the GPUs.
    """
    found = []
    for cache in model.attention:
        if but is not None and but(cache):
            continue
        if cache.index_heads:
            found.append(_indexer(model, cache, rates))
        elif cache.n_heads:
            found.append(_attention(model, cache, size, rates))
    return tuple(found)


def _attention(model: ModelSpec, cache: CacheLayers, size: int, rates: Rates) -> Attending:
    heads, kv_heads = cache.n_heads // size, kv_heads_per_gpu(model, size, cache)
    content = kv_heads * cache.content_bytes(model.kv_element_bytes)
    # One vector of DeepSeek-V4 stands for several tokens.
    each = cache.tokens_per_state
    decode_flop = 2 * _computed_heads(cache, heads) * _decode_numbers(cache)
    context_s = context_read_s = 0.0
    prefill_flop = decode_flop
    if cache.latent is not None and not cache.chosen:
        # Prompts expand the vectors of their context, chunk by chunk (`forward_mha` of mla_attention.py).
        latent = cache.latent
        prefill_flop = 2 * heads * (latent.plain + latent.rotary + latent.value)
        context_s = 2 * heads * (latent.plain + latent.value) * latent.size / rates.matmul["bf16"]
        expanded = heads * (latent.plain + latent.rotary + latent.value) * model.dtype_bytes
        context_read_s = 2 * expanded / rates.stream
    pair_s, decode_pair_s = prefill_flop / rates.attention / each, decode_flop / rates.attention / each
    kv_s = content / rates.gather / each
    window, read = _window(cache), _window(cache) or NO_CAP
    return Attending(
        n_layers=cache.n_layers + len(cache.borrowers),
        window=window,
        # Each query of a prompt chooses tokens of its own, so that together they read all.
        window_read=NO_CAP if cache.chosen else read,
        pair_s=pair_s,
        kv_s=kv_s,
        context_s=context_s,
        context_read_s=context_read_s,
        decode_pair_s=decode_pair_s,
        decode_kv_s=kv_s,
        decode_s=max(decode_pair_s, kv_s),
        indexes=False,
    )


def _indexer(model: ModelSpec, cache: CacheLayers, rates: Rates) -> Attending:
    """Every GPU scores all tokens: its heads are not divided (`Indexer` of vllm/models/deepseek_v32)."""
    key, each = cache.index_dim, cache.tokens_per_state
    pair_s = max(2 * cache.index_heads * key / rates.index, _LOGIT_BYTES / rates.stream) / each
    kv_s = cache.content_bytes(model.kv_element_bytes) / rates.gather / each
    return Attending(
        *(cache.n_layers, 0, NO_CAP, pair_s, kv_s, 0.0, 0.0, pair_s, kv_s, max(pair_s, kv_s)), indexes=True
    )


def _window(cache: CacheLayers) -> float:
    """Return the tokens that a query attends to at most, on average; 0 for all.

    A query attends to its own chunk alone, of which it sees half on average; of a prompt that fills its chunks, exactly
    that many pairs are computed. Decoding requests with contexts between half a chunk and a whole one see more.
    """
    if cache.kind == "chunked":
        return (1 + (cache.window or 0)) / 2
    return min(cache.window or NO_CAP, cache.chosen or NO_CAP) if cache.window or cache.chosen else 0


def _computed_heads(cache: CacheLayers, heads: int) -> int:
    """Return the query heads that a kernel computes: those of sparse latent attention fill up tiles."""
    sparse = cache.kind == "mla" and (cache.chosen is not None or cache.latent is None)
    return filled(heads, _SPARSE_HEADS) if sparse else heads


def _decode_numbers(cache: CacheLayers) -> int:
    """Return the products of one query head with one cached token: of its key, and of its value.

    Of a latent vector, the part without positions is the value as well (`forward_mqa` of mla_attention.py).
    """
    if cache.kind != "mla":
        return cache.numbers_per_token
    return cache.head_dim + (cache.head_dim if cache.latent is None else cache.latent.size)
