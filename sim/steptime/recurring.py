"""What recurrent layers take: states read and written once a step, and a prompt's scan in chunks."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from continuum_sim.hardware.caches import CacheLayers, Scan, State
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.steptime.rates import Rates


class Recurring(NamedTuple):
    """Layers of one shape. Times are of all of them on one GPU."""

    row_s: float
    """Reading and writing the state of one request."""
    token_s: float
    """Moving one token through convolution, recurrence, gate and norm."""
    scanned_s: float
    """Computing one token of a prompt."""
    kept_s: float
    """Writing and reading the states between a prompt's chunks, per token."""


def recurring(model: ModelSpec, size: int, rates: Rates) -> tuple[Recurring, ...]:
    """Return the layers with recurrent states, on one of `size` GPUs.

    A decoding request reads its state and writes it back; its arithmetic, a few FLOP per element, is less than that.
    """
    return tuple(_of(model, cache, size, rates) for cache in model.caches if cache.kind == "recurrent")


def _of(model: ModelSpec, cache: CacheLayers, size: int, rates: Rates) -> Recurring:
    shapes = [state.shape_on(size) for state in cache.states]
    held = sum(prod(shape) * state.element_bytes for shape, state in zip(shapes, cache.states, strict=True))
    conv, main = _channels(cache.states[0], shapes[0]), cache.states[-1]
    recurs = len(cache.states) > 1 or cache.scan is not None
    wide = prod(shapes[-1][:-1]) if recurs else conv
    # The convolution reads and writes its channels; the recurrence reads them and writes its output; gate and norm
    # read and write that.
    moved = model.dtype_bytes * (3 * conv + 3 * wide if recurs else 2 * conv)
    flop, kept = 0.0, 0.0
    if cache.scan is not None:
        heads, value, key = shapes[-1]
        flop = scan_flop(cache.scan, heads, max(1, cache.scan.n_keys // size), value, key)
        kept = 2 * heads * value * key * main.element_bytes / cache.scan.chunk
    n = cache.n_layers
    return Recurring(
        row_s=n * 2 * held / rates.stream,
        token_s=n * moved / rates.stream,
        scanned_s=n * flop / rates.attention,
        kept_s=n * kept / rates.stream,
    )


def scan_flop(scan: Scan, heads: int, keys: int, value: int, key: int) -> float:
    """Return the FLOP of one token in a prompt's scan in chunks of C, of which a token attends to half on average.

    * `state_space`, Mamba 2's structured duality (Dao and Gu, 2024, section 6): scores of each group, C·N; their
      product with the inputs, C·P a head; and what a chunk adds to the state and takes from it, 4·N·P a head.
    * `linear`: scores and their product for every head, C·(K + V), and the state, 4·K·V.
    * `delta`, the (gated) delta rule (Yang et al., 2024, section 3 and its WY form): products of keys and their inverse
      applied to keys and values, C·(2K + V); scores and their product, C·(K + V); and three products with the state.
    """
    chunk = scan.chunk
    if scan.kind == "state_space":
        return keys * chunk * key + heads * (chunk * value + 4 * key * value)
    if scan.kind == "linear":
        return heads * (chunk * (key + value) + 4 * key * value)
    return heads * (chunk * (3 * key + 2 * value) + 6 * key * value)


def _channels(state: State, shape: tuple[int, ...]) -> int:
    """Return the channels of the convolution; of layers without one, as many as queries, keys and values have."""
    return shape[state.split] if len(shape) == 2 and state.split == 1 else 3 * prod(shape[:-1])
