"""Step times from the model's shapes and the GPU's limits: the slower of computing and reading memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from math import ceil, isfinite
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import ONE_GPU, Parallel
from continuum_sim.steptime.attending import Attending, attending
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.exchange import NO_EXCHANGE
from continuum_sim.steptime.kind import StepTimeKind, read_settings
from continuum_sim.steptime.model import Line
from continuum_sim.steptime.moving import SMALL_KERNEL_LATENCY_S as SMALL_KERNEL_LATENCY_S
from continuum_sim.steptime.moving import launches_s, moved_bytes, moving_token_s
from continuum_sim.steptime.multiplying import experts, head, linear
from continuum_sim.steptime.parts import Part, PartName
from continuum_sim.steptime.piecewise import Piece
from continuum_sim.steptime.products import in_tiles, products
from continuum_sim.steptime.ranked import AmongRanks, at_least, graph_tokens
from continuum_sim.steptime.rates import Rates
from continuum_sim.steptime.recurring import recurring
from continuum_sim.steptime.timed import check_timed
from continuum_sim.steptime.told import Told
from continuum_sim.steptime.varlen import goes_through, tiled

HALVED_TOKENS: Final = {False: 32, True: 512}
"""Whether a step has prompts -> the fewest tokens of each rank that two halves are made of (vLLM's
`dbo_decode_token_threshold` and `dbo_prefill_token_threshold`)."""

SHARES: Final = (
    *("matmul_efficiency", "weight_bandwidth_efficiency"),
    *("prefill_attention_efficiency", "decode_attention_efficiency"),
)


@dataclass(frozen=True)
class Settings:
    """Adjustable parts of a roofline. None takes the GPU's measured value; an efficiency of 1, the data sheet."""

    matmul_efficiency: float | None = None
    weight_bandwidth_efficiency: float | None = None
    prefill_attention_efficiency: float | None = None
    decode_attention_efficiency: float | None = None
    host_overhead_s: float = 0.0
    """Host time per step that nothing overlaps; vLLM's asynchronous scheduling (its default) hides it."""
    expert_skew: float = 0.0
    """How unevenly tokens are routed: an expert's share of them is proportional to its rank to the power of minus this.
    0 is even, which routers are trained towards (Fedus, Zoph and Shazeer, 2022; DeepSeek-V3's bias, 2024)."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            share = name in SHARES
            if value is None or (isfinite(value) and value >= 0 and (not share or 0 < value <= 1)):
                continue
            least = "more than 0 and at most 1" if share else "zero or more"
            raise ConfigError(f"roofline: {name} is {value}, expected {least}")


class Roofline(AmongRanks):
    """One forward pass on the GPUs of a split; no term is fitted to the simulated engine.

    A step takes the sum, over the kinds of work, of the slower of computing and reading memory:

    * linear layers: 2·weights·tokens FLOP in the type that vLLM multiplies them in, or reading their bytes once;
    * experts: 2·weights FLOP for each token routed to one, or reading the bytes of those that any token visits;
    * LM head: as linear layers, for the sampled rows (one per request);
    * attention of prompts: 4·heads·head_dim FLOP per query-key pair, or reading the KV cache of its context;
    * attention of decoding requests: the same, over their contexts; latent attention (MLA) expands its vectors for
      prompts and not for decoding, and indexers of sparse attention score the whole context first;
    * recurrent layers: reading and writing states, and a prompt's scan in chunks;
    * data movement of norms, rotary embedding, activation and KV write;
    * per layer, the latency of those kernels and of the attention call; with tensor parallelism, ring all-reduces.

    The roofline model is by Williams, Waterman and Patterson (2009). Peaks are the data sheet's, times the measured
    shares in the GPU catalogue. Sliding-window layers count at most the window for every query, sparse ones what is
    chosen, chunked ones half a chunk: exact if all contexts are on the same side of it, an upper bound otherwise.

    In a step with prompts, attention takes what `varlen` says where vLLM runs FlashAttention 2.
    """

    def __init__(
        self, model: ModelSpec, gpu: GpuSpec, parallel: Parallel = ONE_GPU, settings: Settings | None = None
    ) -> None:
        self.model, self.gpu, self.parallel = model, gpu, parallel
        self.settings = settings = settings or Settings()
        check_timed(model, "roofline")
        size = parallel.tensor_parallel_size
        self.told = told = Told(model, parallel, gpu)
        self.graph_tokens = graph_tokens(gpu)
        latency_s, ring_bytes_per_s = told.reduce
        rates = Rates.of(gpu, asdict(settings))
        self._attention = attending(model, size, rates)
        self._tiled = tiled(model, gpu, size)
        self._beside = attending(model, size, rates, but=goes_through) if self._tiled else self._attention
        """Attention of steps with prompts besides that in tiles, whose calls `varlen` counts."""
        self._tiled_call_s = gpu.attention_latency_s * sum(layer.n_layers for layer in self._tiled)
        self._products = None
        if gpu.tile_waves is not None:
            weights, flops = model.known_weights(), rates.matmul["bf16"]
            self._products = products(weights, size, flops, rates.stream, gpu.tile_waves)
        self._linear = linear(model, parallel, rates, but=in_tiles if self._products else None)
        self._head_read_s, self._head_row_s = head(model, size, rates)
        self._experts = experts(model, parallel, rates, settings.expert_skew)
        self._states = recurring(model, size, rates)
        self._moved, routed = moved_bytes(model, parallel)
        self._move_bytes_per_s, self._route_token_s = rates.stream, routed / rates.stream
        self.ranks = parallel.data_parallel_size if self._experts else 1
        self._exchange, self._reduces = told.exchange, told.reduces
        self._reduce_latency_s = self._reduces * latency_s
        self._reduce_token_s = self._reduces * model.hidden * model.dtype_bytes / ring_bytes_per_s
        self._launch_s = launches_s(model, gpu.attention_latency_s)
        self._fixed_s = settings.host_overhead_s + self._launch_s + self._reduce_latency_s
        self._windowed = any(part.window for part in self._attention)
        self._decode_s = sum(part.n_layers * part.decode_s for part in self._attention)
        self._routed_s: dict[int, float] = {}
        self._own_s: dict[int, tuple[float, float, float]] = {}
        self._apart = bool(routed) or self._exchange != NO_EXCHANGE
        self._further = self._linear if self._products is not None else self._linear[1:]
        self._has_others = bool(self._further) or bool(self._experts) or bool(self._states)

    def halves(self, batches: Sequence[StepBatch]) -> bool:
        """Return whether ranks with such batches run each step as two halves: all must have enough tokens."""
        if not self.parallel.enable_dbo or self._exchange == NO_EXCHANGE:
            return False
        return all(
            batch.prefill_tokens + batch.decode_requests >= HALVED_TOKENS[batch.prefill_tokens > 0] for batch in batches
        )

    def pieces_among(self, batch: StepBatch, n_steps: int, all_tokens: int, *, halved: bool = False) -> Sequence[Piece]:
        """Cut where another roof, or a sliding window, takes effect; between cuts a step's time is affine."""
        if not halved:
            return self._pieces(batch, n_steps, self._batch_s(batch, all_tokens))
        # While one half computes, the other exchanges: the longer of both, and weights are read twice.
        half = StepBatch(*(-(-count // 2) for count in batch))
        latency_s, token_s = self._exchange
        half_s = self._batch_s(half, -(-all_tokens // 2)) - latency_s - token_s * -(-all_tokens // 2)
        return at_least(self._pieces(batch, n_steps, 2 * half_s), 2 * latency_s + token_s * all_tokens)

    def own_line(self, batch: StepBatch, n_steps: int) -> Line | None:
        """Return what a run takes without experts: of decoding requests without windows, or of one step."""
        if self.parallel.enable_dbo:
            return None
        own_s = self._batch_s(batch, 1) - self._experts_s(1)
        if not self._windowed and not batch.prefill_tokens:
            return own_s + self._decode_s * batch.decode_context_tokens, self._decode_s * batch.decode_requests
        return (own_s + self._attention_s(batch, 0), 0.0) if n_steps == 1 else None

    def shared_s(self, tokens: Sequence[int]) -> float:
        """Return the seconds of experts, and of the exchange of tokens."""
        return self._experts_s(self.all_tokens(tokens))

    def _pieces(self, batch: StepBatch, n_steps: int, fixed_s: float) -> Sequence[Piece]:
        if not self._windowed and not batch.prefill_tokens:
            first_s = fixed_s + self._decode_s * batch.decode_context_tokens
            return ((n_steps, first_s, self._decode_s * batch.decode_requests, 0.0),)
        if n_steps == 1:
            return ((1, fixed_s + self._attention_s(batch, 0), 0.0, 0.0),)
        if self._tiled and batch.prefill_tokens:
            return [(1, fixed_s + self._attention_s(batch, j), 0.0, 0.0) for j in range(n_steps)]
        cuts = sorted({cut for j in self._crossings(batch) if 0 < (cut := ceil(j)) < n_steps})
        pieces = []
        for start, end in zip([0, *cuts], [*cuts, n_steps], strict=True):
            here_s = self._attention_s(batch, start)
            # Within half a step no other term takes over, unless the piece is a single step.
            slope_s = 2 * (self._attention_s(batch, start + 0.5) - here_s)
            pieces.append((end - start, fixed_s + here_s, slope_s, 0.0))
        return pieces

    def parts(self, batch: StepBatch) -> tuple[Part, ...]:
        """Return what a step's time is made of: the parts' `seconds` add up to `step_s`. Absent work has no part."""
        prefills, chunk, _, _, decodes, _ = batch
        tokens, rows = chunk + decodes, prefills + decodes
        found = [Part("linear", token_s * tokens, read_s) for read_s, token_s in self._linear]
        if self._products is not None:
            computing_s, reading_s, seconds = self._products.times_s(tokens)
            found.insert(0, Part("linear", computing_s, reading_s, seconds - max(computing_s, reading_s)))
        everyone = self.ranks * tokens
        found += [Part("experts", *some.times_s(everyone)) for some in self._experts]
        if self._exchange != NO_EXCHANGE:
            found.append(Part("exchange", 0.0, self._exchange.token_s * everyone, self._exchange.latency_s))
        found.append(Part("lm_head", self._head_row_s * rows, self._head_read_s))
        attention, launch_s = self._attention, self._launch_s
        if chunk and self._tiled:
            attention, launch_s = self._beside, launch_s - self._tiled_call_s
            for layer in self._tiled:
                computing_s, reading_s, whole_s = (layer.n_layers * seconds for seconds in layer.times_s(*batch))
                found.append(Part("attention_prefill", computing_s, reading_s, whole_s - max(computing_s, reading_s)))
        for part in attention:
            if chunk:
                times_s = (part.n_layers * seconds for seconds in _prefill_s(part, batch))
                name: PartName = "indexer" if part.indexes else "attention_prefill"
                found.append(Part(name, *times_s))
            if decodes:
                n = part.n_layers * part.attended_tokens(batch)
                name = "indexer" if part.indexes else "attention_decode"
                found.append(Part(name, n * part.decode_pair_s, n * part.decode_kv_s))
        for row_s, token_s, scanned_s, kept_s in self._states:
            found.append(Part("states", scanned_s * chunk, row_s * rows + token_s * tokens + kept_s * chunk))
        found.append(Part("moved", 0.0, self._moving_token_s(tokens) * tokens + self._route_token_s * everyone))
        if self._reduces:
            found.append(Part("all_reduce", 0.0, self._reduce_token_s * tokens, self._reduce_latency_s))
        found.append(Part("launch", 0.0, 0.0, launch_s))
        if self.settings.host_overhead_s:
            found.append(Part("host", 0.0, 0.0, self.settings.host_overhead_s))
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        """Model, GPU, parallel size and every efficiency in use, with the catalogue's sources."""
        used = {
            name: getattr(self.gpu, name) if value is None else value for name, value in asdict(self.settings).items()
        }
        if not self._experts:
            del used["expert_skew"]
        return {
            "kind": "roofline",
            "model": self.model.name,
            "gpu": self.gpu.name,
            **self.parallel.describe(),
            **used,
            **self.told.describe(),
            "provenance": {"model": self.model.source, "gpu": self.gpu.source, "measured": self.gpu.measured},
        }

    def _batch_s(self, batch: StepBatch, all_tokens: int) -> float:
        """Return everything but attention, which does not change during a run."""
        prefills, chunk, _, _, decodes, _ = batch
        tokens, rows = chunk + decodes, prefills + decodes
        head_s = self._head_row_s * rows
        own = self._own_s.get(tokens)
        if own is None:
            own = self._own_s[tokens] = self._tokens_s(tokens)
        layers_s, small_s, further_s = own
        seconds = self._fixed_s + layers_s + (head_s if head_s > self._head_read_s else self._head_read_s) + small_s
        return seconds + self._others_s(batch, all_tokens, further_s) if self._has_others else seconds

    def _tokens_s(self, tokens: int) -> tuple[float, float, float]:
        """Return what depends on how many tokens there are alone: linear layers of the first type, small kernels with
        all-reduces, and linear layers of further types.
        """
        if self._products is not None:
            layers_s = self._products.times_s(tokens)[2]
        else:
            read_s, token_s = self._linear[0]
            layers_s = max(token_s * tokens, read_s)
        small_s = (self._moving_token_s(tokens) + self._reduce_token_s) * tokens
        return layers_s, small_s, sum([max(token_s * tokens, read_s) for read_s, token_s in self._further])

    def _moving_token_s(self, tokens: int) -> float:
        return moving_token_s(self._moved, tokens, self._move_bytes_per_s, self.gpu.l2_bytes)

    def _others_s(self, batch: StepBatch, all_tokens: int, further_s: float) -> float:
        """Add experts with the exchange of tokens, and recurrent layers, to linear layers of further types."""
        prefills, chunk, _, _, decodes, _ = batch
        tokens, rows = chunk + decodes, prefills + decodes
        seconds = further_s
        if self._experts:
            seconds += self._experts_s(all_tokens)
        for row_s, token_s, scanned_s, kept_s in self._states:
            seconds += max(scanned_s * chunk, row_s * rows + token_s * tokens + kept_s * chunk)
        return seconds

    def _experts_s(self, all_tokens: int) -> float:
        routed_s = self._routed_s.get(all_tokens)
        if routed_s is None:
            routed_s = sum([max(some.times_s(all_tokens)) for some in self._experts])
            if self._apart:
                latency_s, token_s = self._exchange
                routed_s += latency_s + (token_s + self._route_token_s) * all_tokens
            self._routed_s[all_tokens] = routed_s
        return routed_s

    def _attention_s(self, batch: StepBatch, j: float) -> float:
        """Return all layers' attention in the j-th step of the run. Written out: an engine asks for it all the time."""
        prefills, chunk, context, first_pairs, decodes, decode_context = batch
        attended = decode_context + j * decodes
        before, pairs = context + j * chunk, first_pairs + j * chunk * chunk
        read = before + chunk
        seconds, attention = 0.0, self._attention
        if chunk and self._tiled:
            attention, seconds = self._beside, -self._tiled_call_s
            for layer in self._tiled:
                seconds += layer.n_layers * layer.times_s(prefills, chunk, before, pairs, decodes, attended)[2]
        for (
            n_layers,
            window,
            window_read,
            pair_s,
            kv_s,
            context_s,
            context_read_s,
            _,
            _,
            decode_s,
            _,
        ) in attention:
            if window:
                seconds += n_layers * decode_s * min(attended, decodes * window)
                if chunk:
                    compute_s = pair_s * min(pairs, chunk * window)
                    memory_s = kv_s * min(read, prefills * window_read + chunk)
                    seconds += n_layers * (compute_s if compute_s > memory_s else memory_s)
            else:
                seconds += n_layers * decode_s * attended
                compute_s, memory_s = pair_s * pairs, kv_s * read
                if context_s:
                    compute_s += context_s * before
                    memory_s += context_read_s * before
                seconds += n_layers * (compute_s if compute_s > memory_s else memory_s)
        return seconds

    def _crossings(self, batch: StepBatch) -> Iterator[float]:
        """Yield the (fractional) steps after which another of two terms dominates; extra ones do no harm."""
        prefills, chunk, context, pairs, decodes, decode_context = batch
        attended = (float(decode_context), float(decodes))
        for _, window, window_read, pair_s, kv_s, context_s, context_read_s, _, _, _, _ in self._attention:
            if chunk:
                compute_s, more_s = pair_s * pairs + context_s * context, (pair_s * chunk + context_s) * chunk
                memory_s, more_read_s = kv_s * (context + chunk), kv_s * chunk
                if context_s:
                    memory_s, more_read_s = memory_s + context_read_s * context, more_read_s + context_read_s * chunk
                if more_s != more_read_s:
                    yield (memory_s - compute_s) / (more_s - more_read_s)
            if window:
                yield from _crossing(attended, (decodes * window, 0.0))
                if chunk:
                    compute, memory = (compute_s, more_s), (memory_s, more_read_s)
                    most_compute = (pair_s * chunk * window, 0.0)
                    most_memory = (kv_s * (prefills * window_read + chunk), 0.0)
                    yield from _crossing(compute, most_compute)
                    yield from _crossing(memory, most_memory)
                    yield from _crossing(compute, most_memory)
                    yield from _crossing(memory, most_compute)


def _prefill_s(part: Attending, batch: StepBatch) -> tuple[float, float]:
    """Return the seconds of computing and of reading of one layer for prompts."""
    prefills, chunk, context, pairs, _, _ = batch
    if part.window:
        read = min(context + chunk, prefills * part.window_read + chunk)
        return part.pair_s * min(pairs, chunk * part.window), part.kv_s * read
    compute_s, memory_s = part.pair_s * pairs, part.kv_s * (context + chunk)
    return compute_s + part.context_s * context, memory_s + part.context_read_s * context


def _crossing(one: tuple[float, float], other: tuple[float, float]) -> Iterator[float]:
    if one[1] != other[1]:
        yield (other[0] - one[0]) / (one[1] - other[1])


def _make(argument: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> Roofline:
    known = tuple(item.name for item in fields(Settings))
    return Roofline(model, gpu, parallel, Settings(**read_settings(argument, known, "roofline")))


STEP_TIME = StepTimeKind("roofline", _make, kernels=True)
