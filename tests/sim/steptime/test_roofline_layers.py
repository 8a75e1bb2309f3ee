"""Rooflines of layers other than dense ones with full attention, term by term by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, ModelSpec
from continuum_sim.hardware.caches import CacheLayers, Latent, Scan, State
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.weights import Stored, Weight
from continuum_sim.steptime import Part, Roofline, StepBatch
from continuum_sim.steptime.experts import Routing, filled_rows
from continuum_sim.steptime.moving import SMALL_KERNEL_LATENCY_S
from continuum_sim.steptime.recurring import scan_flop
from continuum_sim.steptime.roofline import Settings
from support.configurations import configured
from support.toy_gpu import GPU, MODEL

DECODE = StepBatch(0, 0, 0, 0, 8, 800)
PROMPT = StepBatch(1, 1000, 500, 1000 * 500 + 1000 * 1001 // 2, 0, 0)
PAIRS = PROMPT.prefill_pairs
FLOPS, BYTES = 1e12, 1e9


def part(model: ModelSpec, batch: StepBatch, name: str, size: int = 1, gpu: GpuSpec = GPU, **given: Any) -> Part:
    found = [one for one in Roofline(model, gpu, Parallel(size), Settings(**given)).parts(batch) if one.name == name]
    assert len(found) == 1
    return found[0]


def with_cache(**shape: Any) -> ModelSpec:
    return replace(MODEL, caches=(CacheLayers(layers=(0, 1), **shape),))


def with_experts(visited: int = 2, count: int = 16, **of_weights: Any) -> ModelSpec:
    experts = [
        Weight("up_proj", 32, 64, (0, 1), count, parts=32, use="expert", visited=visited, **of_weights),
        Weight("down_proj", 64, 32, (0, 1), count, parts=32, use="expert", visited=visited, **of_weights),
    ]
    return replace(MODEL, weights=(*MODEL.weights, *experts))


def test_experts_are_read_once_and_multiplied_with_the_rows_routed_to_them() -> None:
    model, routing = with_experts(), Routing(2, 16)
    found = part(model, DECODE, "experts")
    of_one = 2 * 2 * 32 * 64  # two matrices in each of two layers
    assert found.memory_s == pytest.approx(2 * of_one * 16 * (1 - (7 / 8) ** 8) / BYTES, rel=1e-12)
    assert found.compute_s == pytest.approx(2 * of_one * filled_rows(8, routing) / FLOPS, rel=1e-12)
    halved = part(model, DECODE, "experts", size=2)
    assert (halved.compute_s, halved.memory_s) == pytest.approx((found.compute_s / 2, found.memory_s / 2), rel=1e-12)
    uneven = part(model, DECODE, "experts", expert_skew=1.0)
    assert uneven.memory_s < found.memory_s


def test_experts_reach_their_own_share_of_the_peak() -> None:
    gpu = replace(GPU, fp8_dense_flops=2e12, expert_matmul_efficiency={"bf16": 0.5, "fp8": 0.25})
    fp8 = with_experts(stored=Stored("fp8", 8, computed="fp8"))
    plain = part(with_experts(), PROMPT, "experts")
    assert part(with_experts(), PROMPT, "experts", gpu=gpu).compute_s == pytest.approx(2 * plain.compute_s, rel=1e-12)
    assert part(fp8, PROMPT, "experts", gpu=gpu).compute_s == pytest.approx(2 * plain.compute_s, rel=1e-12)
    assert part(fp8, PROMPT, "experts", gpu=gpu).memory_s == pytest.approx(plain.memory_s / 2, rel=1e-12)
    whole = part(fp8, PROMPT, "experts", gpu=gpu, matmul_efficiency=1.0)
    assert whole.compute_s == pytest.approx(plain.compute_s / 2, rel=1e-12)


def test_a_mixture_launches_and_moves_more_than_an_mlp() -> None:
    more = part(with_experts(), DECODE, "launch").latency_s - part(MODEL, DECODE, "launch").latency_s
    assert more == pytest.approx(2 * 4 * SMALL_KERNEL_LATENCY_S)
    # Two activations of 32 (gate, up, product), two outputs of 64 written and read, and their sum.
    numbers = 2 * 3 * 32 + (2 * 2 + 1) * 64
    moved = part(with_experts(), DECODE, "moved").memory_s - part(MODEL, DECODE, "moved").memory_s
    assert moved == pytest.approx(8 * 2 * 2 * numbers / BYTES, rel=1e-9)


@pytest.mark.parametrize(
    ("computed", "flops"),
    [("bf16", 1e12), ("fp8", 2e12), ("int8", 3e12), ("fp4", 8e12), ("mxfp8", 2e12)],
)
def test_products_take_the_rate_of_their_type_where_the_gpu_has_it(computed: Any, flops: float) -> None:
    stored = Stored(computed, 8, computed=computed)
    weights = tuple(replace(one, stored=stored) if one.use == "linear" else one for one in MODEL.weights)
    model = replace(MODEL, weights=weights)
    newest = replace(GPU, fp8_dense_flops=2e12, int8_dense_ops=3e12, fp4_dense_flops=8e12)
    bf16 = part(MODEL, PROMPT, "linear")
    assert part(model, PROMPT, "linear", gpu=newest).compute_s == pytest.approx(bf16.compute_s * FLOPS / flops)
    assert part(model, PROMPT, "linear").compute_s == pytest.approx(bf16.compute_s)
    assert part(model, PROMPT, "linear").memory_s == pytest.approx(bf16.memory_s / 2)


def test_scaled_products_need_the_units_that_came_with_fp4() -> None:
    stored = Stored("mxfp8", 8, computed="mxfp8")
    weights = tuple(replace(one, stored=stored) if one.use == "linear" else one for one in MODEL.weights)
    hopper = replace(GPU, fp8_dense_flops=2e12)
    found = part(replace(MODEL, weights=weights), PROMPT, "linear", gpu=hopper)
    assert found.compute_s == pytest.approx(part(MODEL, PROMPT, "linear").compute_s)


@pytest.mark.parametrize(
    ("name", "computed"),
    [
        ("llama-3.1-8b-fp8-dynamic", "fp8"),
        ("llama-3.1-8b-fp8-block", "fp8"),
        ("llama-3.1-8b-w8a8-int8", "int8"),
        ("llama-3.1-8b-w8a16", "bf16"),
        ("llama-3.1-8b-awq", "bf16"),
        ("llama-3.1-8b-gptq", "bf16"),
        ("llama-3.1-8b-w4a16", "bf16"),
        ("llama-3.1-8b-nvfp4", "fp4"),
        ("llama-3.1-8b-nvfp4a16", "bf16"),
        ("llama-3.1-8b-mxfp8", "mxfp8"),
        ("gpt-oss-20b", "bf16"),
        ("deepseek-v4-flash", "mxfp8"),
    ],
)
def test_what_a_checkpoint_multiplies_in(name: str, computed: str) -> None:
    weights = configured(name).weights
    kind = "expert" if any(weight.use == "expert" for weight in weights) else "linear"
    params: dict[str, int] = {}
    for weight in weights:
        if weight.use == kind:
            params[weight.stored.computed] = params.get(weight.stored.computed, 0) + weight.n_params
    assert max(params, key=lambda each: params[each]) == computed


LATENT = {"kind": "mla", "n_heads": 4, "n_kv_heads": 1, "head_dim": 40, "value_dim": 0, "latent": Latent(32, 8, 16, 24)}


def test_latent_attention_decodes_on_the_vectors_themselves() -> None:
    found = part(with_cache(**LATENT), DECODE, "attention_decode")
    assert found.compute_s == pytest.approx(2 * 800 * 2 * 4 * (40 + 32) / FLOPS)
    assert found.memory_s == pytest.approx(2 * 800 * 40 * 2 / BYTES)
    # Every GPU reads all of a vector, and computes its part of the heads.
    halved = part(with_cache(**LATENT), DECODE, "attention_decode", size=2)
    assert (halved.compute_s, halved.memory_s) == pytest.approx((found.compute_s / 2, found.memory_s))


def test_latent_attention_expands_the_context_of_prompts() -> None:
    found = part(with_cache(**LATENT), PROMPT, "attention_prefill")
    expand = 2 * 4 * (16 + 24) * 32
    assert found.compute_s == pytest.approx(2 * (2 * 4 * (16 + 8 + 24) * PAIRS + expand * 500) / FLOPS)
    expanded = 2 * 4 * (16 + 8 + 24) * 2  # written and read
    assert found.memory_s == pytest.approx(2 * (1500 * 40 * 2 + 500 * expanded) / BYTES)


def test_an_indexer_scores_everything_and_attention_sees_what_it_chose() -> None:
    sparse = with_cache(**LATENT, chosen=64, fp8_state_content_bytes=100)
    index = CacheLayers("mla", (0, 1), 0, 1, 18, value_dim=0, state_content_bytes=18, index_heads=3, index_dim=16)
    model = replace(sparse, caches=(index, *sparse.caches))
    gpu = replace(GPU, fp8_dense_flops=2e12)
    scores = part(model, DECODE, "indexer", gpu=gpu)
    # Each score is written in fp32 and read again, which takes longer than 3 products of 16.
    assert scores.compute_s == pytest.approx(2 * 800 * max(2 * 3 * 16 / 2e12, 8 / BYTES))
    assert scores.memory_s == pytest.approx(2 * 800 * 18 / BYTES)
    decode = part(model, DECODE, "attention_decode", gpu=gpu)
    assert decode.memory_s == pytest.approx(2 * 8 * 64 * 40 * 2 / BYTES)
    fp8 = part(replace(model, kv_dtype_bytes=1), DECODE, "attention_decode", gpu=gpu)
    assert fp8.memory_s == pytest.approx(2 * 8 * 64 * 100 / BYTES)
    prompt = part(model, PROMPT, "attention_prefill", gpu=gpu)
    # Its kernels fill the four heads up to 64.
    assert prompt.compute_s == pytest.approx(2 * 2 * 64 * (40 + 32) * 1000 * 64 / FLOPS)
    assert part(model, PROMPT, "indexer", size=2, gpu=gpu) == part(model, PROMPT, "indexer", gpu=gpu)


def test_a_vector_of_several_tokens_is_read_once_for_them() -> None:
    vectors = {**LATENT, "latent": None, "tokens_per_state": 4}
    found = part(with_cache(**vectors), DECODE, "attention_decode")
    assert found.compute_s == pytest.approx(2 * 800 / 4 * 2 * 64 * (40 + 40) / FLOPS)
    assert found.memory_s == pytest.approx(2 * 800 / 4 * 40 * 2 / BYTES)


def test_a_prompt_that_fills_its_chunks_computes_exactly_their_pairs() -> None:
    chunked = with_cache(kind="chunked", n_heads=4, n_kv_heads=2, head_dim=16, window=250)
    full = part(MODEL, PROMPT, "attention_prefill").compute_s / PAIRS
    whole = StepBatch(1, 1000, 0, 1000 * 1001 // 2, 0, 0)
    assert part(chunked, whole, "attention_prefill").compute_s == pytest.approx(full * 4 * 250 * 251 / 2)
    inside = StepBatch(1, 250, 0, 250 * 251 // 2, 0, 0)
    assert part(chunked, inside, "attention_prefill").compute_s == pytest.approx(full * 250 * 251 / 2)


def test_layers_without_keys_of_their_own_attend_too() -> None:
    borrowed = replace(MODEL, caches=(replace(MODEL.caches[0], layers=(0,), borrowers=(1,)),))
    assert part(borrowed, DECODE, "attention_decode") == part(MODEL, DECODE, "attention_decode")
    assert part(borrowed, DECODE, "launch") == part(MODEL, DECODE, "launch")


def test_recurrent_layers_read_and_write_their_states() -> None:
    states = (State((3, 96), 1), State((4, 16, 8), 0, element_bytes=4))
    model = with_cache(kind="recurrent", states=states, scan=Scan("delta", 64, 2))
    held, token = 3 * 96 * 2 + 4 * 16 * 8 * 4, 2 * (3 * 96 + 3 * 64)
    decode = part(model, DECODE, "states")
    assert decode.compute_s == 0
    assert decode.memory_s == pytest.approx(2 * 8 * (2 * held + token) / BYTES)
    prompt = part(model, PROMPT, "states")
    assert prompt.compute_s == pytest.approx(2 * 1000 * 4 * (64 * (3 * 8 + 2 * 16) + 6 * 8 * 16) / FLOPS)
    kept = 2 * 4 * 16 * 8 * 4 / 64
    assert prompt.memory_s == pytest.approx(2 * (2 * held + 1000 * (token + kept)) / BYTES)


def test_the_scan_of_a_chunk_of_everything_is_attention() -> None:
    # Without the states between chunks, linear attention over one chunk computes half its pairs, twice 2 FLOP a number.
    chunk, heads, size = 1024, 4, 16
    attention = heads * 2 * (size + size) * chunk / 2
    flop = scan_flop(Scan("linear", chunk, heads), heads, heads, size, size)
    assert flop == attention + heads * 4 * size * size


def test_shared_blocks_are_read_each_time_they_are_used() -> None:
    zamba = configured("zamba2-2.7b")
    shared = [weight for weight in zamba.weights if weight.uses]
    extra = sum(weight.bytes_per_rank(1) * (weight.uses_of_each - 1) for weight in shared)
    found = part(zamba, DECODE, "linear")
    assert extra > 0
    assert found.memory_s == pytest.approx((zamba.linear_bytes_per_rank(1) + extra) / BYTES)


def test_a_mixture_that_does_not_say_its_experts_per_token_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"toy: .*how many experts a token visits .*--step-time fitted:FILE"):
        Roofline(with_experts(visited=0), GPU)
    with pytest.raises(ConfigError, match="expert_skew is -1"):
        Settings(expert_skew=-1.0)


def test_only_a_mixture_describes_its_skew() -> None:
    assert "expert_skew" not in Roofline(MODEL, GPU).describe()
    assert Roofline(with_experts(), GPU).describe()["expert_skew"] == 0.0
