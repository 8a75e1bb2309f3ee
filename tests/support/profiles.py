"""Kernel tables of a made-up GPU, whose times are known by a formula."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

CHUNKS, CONTEXTS = (16, 64, 256), (0, 64, 256, 1024)
REQUESTS, KV = (1, 4, 16), (16, 128, 1024)

AttentionUs = Callable[[int, int, int, int], float]


def pairs(chunk: float, cached: float) -> float:
    return chunk * cached + chunk * (chunk + 1) / 2


def by_pairs(chunk: int, cached: int, requests: int, kv: int) -> float:
    """A kernel that costs 7 µs and what it computes: what the interpolation is made to meet exactly."""
    return 7.0 + 0.002 * pairs(chunk, cached) + (0.05 if chunk else 0.02) * requests * kv


def write_profile(folder: Path, attention_us: AttentionUs = by_pairs, meta: str = "") -> Path:
    dense = [("layernorm", n, 2.0 + n) for n in (1, 100, 300)]
    dense += [("mlp", n, 100.0 + 3 * n) for n in (1, 100, 300)]
    dense += [("embedding", n, 5.0 * n) for n in (1, 100, 300)]
    (folder / "dense.csv").write_text("\n".join(["layer,tokens,time_us", *(f"{a},{b},{c}" for a, b, c in dense)]))
    head = [("lm_head", n, 1000.0 + n) for n in (1, 10)]
    (folder / "per_sequence.csv").write_text(
        "\n".join(["layer,sequences,time_us", *(f"{a},{b},{c}" for a, b, c in head)])
    )
    keys = [(chunk, cached, 0, 0) for chunk, cached in itertools.product(CHUNKS, CONTEXTS)]
    keys += [(0, 0, requests, kv) for requests, kv in itertools.product(REQUESTS, KV)]
    keys += list(itertools.product(CHUNKS, CONTEXTS, REQUESTS, KV))
    rows = [f"{','.join(map(str, key))},{attention_us(*key)!r}" for key in keys]
    (folder / "attention.csv").write_text(
        "\n".join(["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", *rows]) + "\n"
    )
    if meta:
        (folder / "meta.yaml").write_text(meta)
    return folder
