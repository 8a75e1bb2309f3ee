"""Attention of a step with prompts where vLLM runs FlashAttention 2: one kernel for prompts and decoding requests.

`flash_attn_varlen_func` gives every sequence the grid of the longest chunk: tiles of 64 queries of one head, each of
which passes over its sequence's context in blocks, whether it holds 64 queries of a prompt or the single one of a
decoding request; tiles without a query return at once. The context is not split between tiles (split KV), and a tile
occupies its multiprocessor until it ends. Dao (2023), FlashAttention-2; grid and sizes of a tile:
vllm-project/flash-attention, csrc/flash_attn/src/flash_fwd_launch_template.h, `run_flash_splitkv_fwd`, which paged
caches go through with one split.

Hopper has FlashAttention 3 and Blackwell's large chips FlashInfer, which split and schedule contexts otherwise; so do
fp8 caches, latent attention (MLA), and cascade attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.kv import kv_heads_per_gpu
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.steptime.batch import StepBatch

QUERIES: Final = 64
"""Queries of a tile (`kBlockM`)."""

# Fitted together on the mixed rows of six kernel tables of an RTX PRO 6000 (LLMServingSim's profiles of vLLM 0.19:
# three models on one and two GPUs); docs/step-time.md has the residuals, and those on an RTX 4090, which no fit saw.
CALL_S: Final = 3.3e-6
"""Before the first tile and after the last."""
TILE_S: Final = 2.25e-6
"""Of a tile besides its blocks: reading queries, writing outputs."""
EMPTY_TILE_S: Final = 0.45e-6
"""Of a tile without a query."""
LAST_TILES: Final = 0.68
"""How much longer than shared out evenly tiles of unequal length take, in tiles."""
CACHE_REACH: Final = (0.75, 1.47)
"""Context of a KV head, in sizes of the L2 cache, from which other query heads begin to read it from memory again, and
from which all do."""
BANDWIDTH_SHARE: Final = 0.94
"""Share of the peak bandwidth at which tiles read."""
BLEND: Final = 2.9
"""Power at which computing and reading add up: each hides the other in part, as a tile waits for its next block."""


def block_tokens(head_dim: int) -> int:
    """Return the tokens of the context that a tile takes at a time (`kBlockN`)."""
    return 256 if head_dim <= 64 else 128 if head_dim <= 128 else 64


@dataclass(frozen=True)
class Tiled:
    """Layers of one shape, on one GPU. All times are of one layer."""

    n_layers: int
    window: float
    """Tokens that a query attends to at most; 0 for all."""
    heads: int
    sharing: float
    """Query heads that share a KV head."""
    multiprocessors: int
    """Each holds one tile at a time: a tile's queries, keys and values fill most of its shared memory."""
    token_s: float
    """Of a tile, per token of its context."""
    half_block: float
    """Tokens that a tile computes in vain in its last block, on average."""
    token_bytes: float
    """One token of one KV head."""
    read_s: float
    """Reading a token of all KV heads once."""
    cache_tokens: float
    """Tokens of one KV head that the L2 cache holds."""

    def times_s(self, prefills: int, chunk: int, before: float, pairs: float, decodes: int, attended: float) -> Times:
        """Return the seconds of computing, of reading, and of both together.

        Parameters
        ----------
        prefills, chunk, before, pairs
            Prompts, their tokens, the tokens computed before these, and the pairs of a token and one it attends to.
        decodes, attended
            Decoding requests, and all tokens that they attend to.
        """
        rows = chunk / prefills
        tiles_each = ceil(rows / QUERIES)
        some = min(rows, QUERIES)
        length, farthest = pairs / chunk + some / 2, before / prefills + rows
        decoded = attended / decodes if decodes else 0.0
        if self.window:
            length, farthest = min(length, self.window + some), min(farthest, self.window + some)
            before, decoded = min(before, prefills * self.window), min(decoded, self.window)
        prompts, singles = prefills * tiles_each * self.heads, decodes * self.heads
        places, token_s = self.multiprocessors, self.token_s
        fixed_s = TILE_S + token_s * self.half_block
        computing_s = _spread_s(
            places,
            self.heads,
            (singles, fixed_s + token_s * decoded, fixed_s + token_s * decoded),
            (prompts, fixed_s + token_s * length, fixed_s + token_s * farthest),
            singles * (tiles_each - 1) * EMPTY_TILE_S / places,
        )
        read = decodes * decoded + before + chunk
        least, most = CACHE_REACH
        missing = min(max((read / self.cache_tokens - least) / (most - least), 0.0), 1.0)
        apart = min(1.0, (decodes + prefills * tiles_each) / places)
        reading_s = self.read_s * read * (1 + (self.sharing - 1) * apart * missing)
        return computing_s, reading_s, CALL_S + (computing_s**BLEND + reading_s**BLEND) ** (1 / BLEND)


Times = tuple[float, float, float]
Kind = tuple[int, float, float]
"""Tiles, seconds of each on average, and of the longest."""


def _spread_s(places: int, heads: int, singles: Kind, prompts: Kind, empty_s: float) -> float:
    """Return when the last tile ends, if `places` of them run at a time, head after head."""
    equal = prompts[1] == prompts[2]  # those of decoding requests always are
    if singles[0] and singles[1] >= prompts[1]:
        (n, each_s, _), (n_short, short_s, _) = singles, prompts
        rounds: float = ceil(n / places)
    else:
        (n, each_s, _), (n_short, short_s, _) = prompts, singles
        rounds = ceil(n / places) if equal or n <= places else n / places + LAST_TILES
    spread_s = rounds * each_s + empty_s
    left = (n_short * short_s / places - (rounds - n / places) * each_s) / short_s if n_short else 0.0
    if left > 0:  # shorter ones fill the places that are left
        spread_s += max(1.0, left + LAST_TILES) * short_s
    longest_s = max(singles[2] if singles[0] else 0.0, prompts[2])
    occupied = n / places
    if occupied >= 1:
        return max(spread_s, longest_s)
    # The last head's tiles start when those before them have: long ones then end last.
    shorts_s = n_short * short_s / places + empty_s
    before_s = (1 - 1 / heads) * min(shorts_s / (1 - occupied / 2), shorts_s + occupied * each_s) - short_s
    return max(spread_s, longest_s + max(0.0, before_s))


def tiled(model: ModelSpec, gpu: GpuSpec, size: int) -> tuple[Tiled, ...]:
    """Return the layers whose attention goes through this kernel, on one of `size` GPUs; none on other GPUs."""
    if gpu.tiled_attention is None or model.kv_element_bytes != 2 or model.dtype_bytes != 2:
        return ()
    return tuple(_tiled(model, cache, gpu, size) for cache in model.attention if goes_through(cache))


def goes_through(cache: CacheLayers) -> bool:
    """Return whether layers with such caches are computed by this kernel on a GPU that has it."""
    return bool(cache.n_heads) and cache.kind != "mla" and cache.chosen is None and not cache.index_heads


def _tiled(model: ModelSpec, cache: CacheLayers, gpu: GpuSpec, size: int) -> Tiled:
    how = gpu.tiled_attention
    assert how is not None
    heads, kv_heads = max(1, cache.n_heads // size), kv_heads_per_gpu(model, size, cache)
    processors = int(how["multiprocessors"])
    flops = gpu.bf16_dense_flops / processors * how.get("tile_efficiency", gpu.prefill_attention_efficiency)
    token_bytes = cache.content_bytes(model.kv_element_bytes)
    chunked = cache.kind == "chunked"
    return Tiled(
        n_layers=cache.n_layers + len(cache.borrowers),
        window=(1 + (cache.window or 0)) / 2 if chunked else float(cache.window or 0),
        heads=heads,
        sharing=heads / kv_heads,
        multiprocessors=processors,
        token_s=2 * QUERIES * cache.numbers_per_token / flops,
        half_block=block_tokens(cache.head_dim) / 2,
        token_bytes=token_bytes,
        read_s=kv_heads * token_bytes / (gpu.memory_bandwidth_bytes_per_s * BANDWIDTH_SHARE),
        cache_tokens=max(gpu.l2_bytes, 1.0) / token_bytes,
    )


def step_s(layers: tuple[Tiled, ...], batch: StepBatch) -> float:
    """Return what all these layers take in a step with prompts."""
    return sum([layer.n_layers * layer.times_s(*batch)[2] for layer in layers])
