"""Matrix products in waves of tiles: a few hundred rows, which neither fill a GPU nor hide behind reading its weights.

A product is cut into tiles of outputs, and its inner dimension into parts if there are fewer tiles than multiprocessors
(split K), of which the fastest number is taken. Each multiprocessor computes a tile at a time, so that the last wave
may be nearly empty, and 65 rows take as long as 128. NVIDIA, Matrix Multiplication Background User's Guide, "Tile
quantization" and "Wave quantization".

For weights in bf16 or fp16 on GPUs whose catalogue entry has `tile_waves`; others have the two limits alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Final

from continuum_sim.hardware.weights import Weight

# Fitted together on the products of Llama-3.1-8B and Qwen3-32B in the kernel tables of an RTX PRO 6000 from which
# `varlen` has its constants, and of Llama-3.1-8B in those of an RTX 4090, both of LLMServingSim.
TILES: Final = (64, 128)
"""Rows and columns of outputs in a tile."""
SPEED: Final = 1.07
"""Of a tile, in shares of what large products reach in all, whose last wave is rarely full."""
SPLITS: Final = (1, 2, 4, 8)
"""Parts of the inner dimension."""
WAVE_S: Final = 2.0e-6
"""Of a wave besides its products: filling and emptying the pipeline."""
OVERLAP: Final = 2.6
"""Power at which computing and reading add up: each hides the other in part."""

_FUSED: Final = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "gate_proj": "up_proj"}
"""Weights that vLLM multiplies with at once (`packed_modules_mapping`)."""
_INPUTS_SPLIT: Final = frozenset({"o_proj", "out_proj", "down_proj"})
"""Weights whose inputs a split shares out, instead of outputs (`RowParallelLinear`)."""


@dataclass(frozen=True)
class Products:
    """The products of all layers with weights in 16 bits, on one GPU."""

    shapes: Mapping[tuple[float, float], float]
    """Outputs and inputs -> how many such products a step has."""
    flops: float
    """FLOP/s of large products."""
    bytes_per_s: float
    """At which weights are read."""
    multiprocessors: int

    def times_s(self, tokens: int) -> tuple[float, float, float]:
        """Return the seconds of computing, of reading, and of both together, with so many rows."""
        computing_s = reading_s = seconds = 0.0
        for (outputs, inputs), n in self.shapes.items():
            compute_s, read_s, both_s = self._product_s(tokens, outputs, inputs)
            computing_s += n * compute_s
            reading_s += n * read_s
            seconds += n * both_s
        return computing_s, reading_s, seconds

    def _product_s(self, rows: int, outputs: float, inputs: float) -> tuple[float, float, float]:
        read_s = 2 * (outputs * inputs + rows * (outputs + inputs)) / self.bytes_per_s
        tries = []
        for tile, parts in product(TILES, SPLITS):
            tile_s = 2 * tile * tile * inputs / (self.flops / self.multiprocessors * SPEED)
            tiles = ceil(rows / tile) * ceil(outputs / tile)
            compute_s = ceil(tiles * parts / self.multiprocessors) * (tile_s / parts + WAVE_S)
            # Parts are summed in fp32, half of which stays in the cache.
            summing_s = 2 * parts * rows * outputs / self.bytes_per_s if parts > 1 else 0.0
            tries.append(((compute_s**OVERLAP + read_s**OVERLAP) ** (1 / OVERLAP) + summing_s, compute_s))
        both_s, compute_s = min(tries)
        return compute_s, read_s, both_s


def in_tiles(weight: Weight) -> bool:
    """Return whether the products with a weight are of this kind."""
    return weight.use == "linear" and weight.stored.is_plain and weight.stored.bits == 16


def products(
    weights: Iterable[Weight], size: int, flops: float, bytes_per_s: float, multiprocessors: int
) -> Products | None:
    """Return the products with weights that are `in_tiles`, on one of `size` GPUs; None if there are none."""
    fused: dict[tuple[str, tuple[int, ...], float], float] = defaultdict(float)
    counts: dict[tuple[str, tuple[int, ...], float], float] = {}
    for weight in filter(in_tiles, weights):
        numbers = weight.params_per_rank(size) / weight.n
        parent, _, name = weight.name.rpartition(".")
        split = weight.split == "columns" or name in _INPUTS_SPLIT
        inputs = numbers / weight.rows if split else float(weight.columns)
        key = (f"{parent}.{_FUSED.get(name, name)}", weight.layers, inputs)
        fused[key] += numbers / inputs
        counts[key] = weight.n * weight.uses_of_each
    shapes: dict[tuple[float, float], float] = defaultdict(float)
    for key, outputs in fused.items():
        shapes[outputs, key[2]] += counts[key]
    return Products(shapes, flops, bytes_per_s, multiprocessors) if shapes else None
