"""Rooflines of all configurations against the data sheet, whose limits are computed from the specification alone."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import ModelSpec, find_gpu
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import Roofline, StepBatch
from continuum_sim.steptime.batch import prefill_of
from continuum_sim.steptime.rates import peak_flops
from continuum_sim.steptime.roofline import Settings
from continuum_sim.steptime.timed import untimed
from support.configurations import configured, names

LEAST = 0.15
"""Of the limit that governs: below it, a step is not explained by arithmetic and memory."""

EXCEPTIONS: dict[str, str] = {}
"""Configuration -> why its steps are further from the data sheet."""

GPU = replace(find_gpu("h200"), fp8_dense_flops=1.979e15, int8_dense_ops=1.979e15)
"""Its data sheet: 3,958 TFLOPS in fp8 with sparsity, half of it dense."""

IDEAL = Settings(1.0, 1.0, 1.0, 1.0)


def bytes_of(model: ModelSpec, size: int, batch: StepBatch) -> float:
    """Return the bytes that a step cannot avoid to read: weights of what its tokens visit, caches and states."""
    tokens, rows = batch.prefill_tokens + batch.decode_requests, batch.prefill_requests + batch.decode_requests
    read = float(model.head_bytes_per_rank(size))
    for weight in model.weights:
        if weight.use == "linear":
            read += weight.bytes_per_rank(size) * weight.uses_of_each
        elif weight.use == "expert":
            read += weight.bytes_per_rank(size) * (1 - (1 - weight.visited / weight.count) ** tokens)
    for cache in model.caches:
        if cache.kind == "recurrent":
            states = sum(prod(state.shape_on(size)) * state.element_bytes for state in cache.states)
            read += 2 * rows * cache.n_layers * states
        elif batch.decode_requests and (cache.n_heads or cache.index_heads):
            context = batch.decode_context_tokens / batch.decode_requests
            most = (cache.window or context) / 2 if cache.kind == "chunked" else cache.window or context
            seen = batch.decode_requests * min(context, most, cache.chosen or context) / cache.tokens_per_state
            heads = cache.kv_heads_on(size)
            layers = cache.n_layers + len(cache.borrowers)
            read += layers * heads * seen * cache.content_bytes(model.kv_element_bytes)
    return read


def flop_s(model: ModelSpec, size: int, batch: StepBatch) -> float:
    """Return the seconds of the products of weights at the peak of each type."""
    tokens, peaks = batch.prefill_tokens + batch.decode_requests, peak_flops(GPU)
    seconds = 0.0
    for weight in model.weights:
        copies = {"linear": weight.uses_of_each, "expert": weight.visited / weight.count}.get(weight.use, 0.0)
        seconds += 2 * copies * weight.params_per_rank(size) * tokens / peaks[weight.stored.computed]
    return seconds


def roofline(model: ModelSpec, settings: Settings) -> tuple[Roofline, int]:
    """Return the roofline on the fewest GPUs that hold the weights, or on one node."""
    for size in (1, 2, 4, 8):
        if size == 8 or model.weight_bytes_per_rank(Parallel(size)) < 0.9 * GPU.memory_bytes:
            try:
                return Roofline(model, GPU, Parallel(size), settings), size
            except ConfigError:
                if size == 8:
                    raise
    raise AssertionError


def timed() -> list[str]:
    """Return the configurations that vLLM serves and that have weights."""
    found = []
    for name in names():
        try:
            if untimed(configured(name)) is None:
                found.append(name)
        except ConfigError:
            continue
    return found


@pytest.mark.parametrize("name", timed())
def test_a_step_stays_within_the_data_sheet(name: str) -> None:
    model = configured(name)
    measured, size = roofline(model, Settings())
    ideal, _ = roofline(model, IDEAL)
    longest = min(8192, model.max_model_len)
    full = StepBatch(0, 0, 0, 0, 256, 256 * (longest // 2))
    for batch in (full, prefill_of(longest)):
        step_s, parts = measured.step_s(batch), ideal.parts(batch)
        assert sum(part.seconds for part in measured.parts(batch)) == pytest.approx(step_s, rel=1e-9)
        read_s = bytes_of(model, size, batch) / GPU.memory_bandwidth_bytes_per_s
        assert max(read_s, flop_s(model, size, batch)) <= ideal.step_s(batch) <= step_s
        compute_s = sum(part.compute_s for part in parts)
        memory_s = sum(part.memory_s for part in parts if part.name != "all_reduce")
        share = max(compute_s, memory_s) / step_s
        assert share >= (0.0 if name in EXCEPTIONS else LEAST), share


def test_nearly_all_configurations_are_timed() -> None:
    served = []
    for name in names():
        try:
            served.append((name, configured(name).unread))
        except ConfigError:
            continue
    assert set(timed()) == {name for name, unread in served if unread is None}
    assert len(timed()) >= 368


def test_exceptions_are_still_configurations() -> None:
    assert set(EXCEPTIONS) <= set(timed())
