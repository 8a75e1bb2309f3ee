from __future__ import annotations

from typing import Any

import pytest
from oracles.ask_vllm import DEFAULTS
from oracles.refresh import key, read_answers

from continuum_sim.hardware.caches import CacheKind, CacheLayers, State
from continuum_sim.hardware.groups import Groups, cache_groups

ANSWERED = [record for record in read_answers() if "groups" in record["answer"]]
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "uint8": 1, "float8_e4m3fn": 1}
KINDS: dict[str, CacheKind] = {
    "FullAttentionSpec": "full",
    "SlidingWindowSpec": "sliding",
    "ChunkedLocalAttentionSpec": "chunked",
    "MLAAttentionSpec": "mla",
    "SlidingWindowMLASpec": "mla",
    "MambaSpec": "recurrent",
}
MAMBA_2 = ("NemotronH", "GraniteMoeHybrid", "FalconH1", "Zamba2", "Bamba", "Mamba2")


def _caches(answer: dict[str, Any], block_size: int) -> tuple[CacheLayers, ...]:
    """What the layers of an answer keep, as one rank of one has it."""
    first, found = 0, []
    for layer in answer["layers"]:
        layers = tuple(range(first, first := first + layer["layers"]))
        if "shapes" in layer:
            kept = zip(layer["shapes"], layer["dtypes"], strict=True)
            found.append(
                CacheLayers(
                    "recurrent",
                    layers,
                    states=tuple(State(tuple(shape), 0, BYTES[dtype]) for shape, dtype in kept),
                    num_prefill_checkpoint_blocks=int(answer["architecture"].startswith(MAMBA_2)),
                )
            )
            continue
        numbers = layer["head_size"] + layer["head_size_v"]
        sparse = len(answer["layers"]) > 1 and layer["kind"] in ("MLAAttentionSpec", "SlidingWindowMLASpec")
        found.append(
            CacheLayers(
                KINDS[layer["kind"]],
                layers,
                n_kv_heads=layer["num_kv_heads"],
                head_dim=layer["head_size"],
                value_dim=layer["head_size_v"],
                window=layer.get("sliding_window", layer.get("attention_chunk_size")),
                state_content_bytes=None,
            )
        )
    return tuple(found)
