from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.ask_vllm import DEFAULTS
from oracles.refresh import key, read_answers

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_model
from continuum_sim.hardware.caches import CacheKind, CacheLayers, State
from continuum_sim.hardware.groups import Groups, cache_groups, model_groups

GIB = 2**30
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
MAMBA_2 = ("Bamba", "FalconH1", "GraniteMoeHybrid", "Mamba2", "NemotronH", "Zamba2")
INDEXER_BYTES = 132  # 128 numbers in fp8 and their scale
SPARSE_FP8_BYTES = 656  # a latent vector in fp8 with its scales, and its rope part in bf16
DEEPSEEK_V4_PAGES = {8_640: 4, 37_440: 4, 1_728: 128}  # bytes of 256 tokens, and how many make one vector


# The layers of an answer, as caches of one rank of one. Their numbers are not in it, but the order of the kinds is.


def _caches(answer: dict[str, Any]) -> tuple[CacheLayers, ...]:
    found, first = [], 0
    for layer in answer["layers"]:
        layers = tuple(range(first, first := first + layer["layers"]))
        found.append(_recurrent(answer, layer, layers) if "shapes" in layer else _attention(answer, layer, layers))
    return tuple(found)


def _recurrent(answer: dict[str, Any], layer: dict[str, Any], layers: tuple[int, ...]) -> CacheLayers:
    kept = zip(layer["shapes"], layer["dtypes"], strict=True)
    states = tuple(State(tuple(shape), 0, BYTES[dtype]) for shape, dtype in kept)
    checkpoints = int(answer["architecture"].startswith(MAMBA_2))
    return CacheLayers("recurrent", layers, states=states, num_prefill_checkpoint_blocks=checkpoints)


def _attention(answer: dict[str, Any], layer: dict[str, Any], layers: tuple[int, ...]) -> CacheLayers:
    numbers = layer["head_size"] + layer["head_size_v"]
    cache = CacheLayers(
        KINDS[layer["kind"]],
        layers,
        n_kv_heads=layer["num_kv_heads"],
        head_dim=layer["head_size"],
        value_dim=layer["head_size_v"],
        window=layer.get("sliding_window", layer.get("attention_chunk_size")),
    )
    if layer["kind"] == "MLAAttentionSpec" and layer["page_bytes"] == layer["block_size"] * SPARSE_FP8_BYTES:
        cache = replace(cache, state_content_bytes=SPARSE_FP8_BYTES)
    if layer["head_size"] == INDEXER_BYTES:
        cache = replace(cache, state_content_bytes=INDEXER_BYTES)
    if answer["architecture"].startswith("DeepseekV4"):
        packed = numbers == 512 and layer["dtype"] == "uint8"
        cache = replace(
            cache,
            block_size=layer["block_size"],
            state_content_bytes=584 if packed else numbers * BYTES[layer["dtype"]],
            tokens_per_state=DEEPSEEK_V4_PAGES[layer["page_bytes"]] if layer["kind"] == "MLAAttentionSpec" else 1,
            alignment=576,
        )
    return cache


def _element_bytes(answer: dict[str, Any]) -> int:
    attention = [layer for layer in answer["layers"] if "head_size" in layer and layer["head_size"] != INDEXER_BYTES]
    return BYTES[attention[0]["dtype"]] if attention else 2


def _of(answer: dict[str, Any], settings: dict[str, Any]) -> Groups:
    return cache_groups(
        _caches(answer),
        block_size=settings["block_size"],
        element_bytes=_element_bytes(answer),
        max_model_len=answer["max_model_len"],
    )


def _compare(groups: Groups, answer: dict[str, Any], settings: dict[str, Any]) -> None:
    vllm = []
    for group in answer["groups"]:
        summed = 1 if group["kind"] == "UniformTypeKVCacheSpecs" else group["layers"]
        vllm += [(group["layers"], group["block_size"], group["page_bytes"] * summed)] * group["groups"]
    ours = [(len(group.layers), group.block_size, group.page_bytes) for group in groups.groups]
    assert sorted(ours) == sorted(vllm)
    if all(group["kind"] in KINDS for group in answer["groups"]):
        kinds = [KINDS[group["kind"]] for group in answer["groups"]]
        assert list(dict.fromkeys(group.kind for group in groups.groups)) == list(dict.fromkeys(kinds))
    assert groups.block_size == answer["block_size"]
    length, tokens = answer["max_model_len"], settings["max_num_batched_tokens"]
    if "num_blocks" in answer:
        kv_bytes = settings["kv_bytes"]
        assert groups.num_blocks(kv_bytes) == answer["num_blocks"]
        assert groups.capacity_tokens(kv_bytes, length, tokens) == answer["capacity_tokens"]
        assert round(groups.max_concurrency(kv_bytes, length, tokens), 6) == answer["concurrency"]
    assert groups.starts(settings["kv_bytes"], length, tokens) == ("too_little" not in answer)


@pytest.mark.parametrize("record", ANSWERED, ids=lambda record: key(record["config"], record["question"]))
def test_groups_blocks_and_capacity_are_those_vllm_answers(record: dict[str, Any]) -> None:
    settings = DEFAULTS | record["question"]
    _compare(_of(record["answer"], settings), record["answer"], settings)


def _split(whole: dict[str, Any], rank: dict[str, Any], size: int) -> tuple[CacheLayers, ...]:
    """Caches of the undivided model, whose states are divided as in the answer of a rank."""
    found = []
    for cache, layer in zip(_caches(whole), rank["layers"], strict=True):
        states = []
        for state, shape in zip(cache.states, layer.get("shapes", ()), strict=True):
            split = next(at for at, part in enumerate(shape) if part != state.shape[at])
            kept = (size * shape[split] - state.shape[split]) // (size - 1)
            states.append(replace(state, split=split, whole=kept))
        found.append(replace(cache, states=tuple(states)))
    return tuple(found)


def test_groups_of_one_rank_of_several_follow_from_the_whole_model() -> None:
    whole = {record["config"]: record["answer"] for record in ANSWERED if not record["question"]}
    compared = set()
    for record in ANSWERED:
        rank = record["answer"]
        if set(record["question"]) != {"tensor_parallel_size"} or record["config"] not in whole:
            continue
        size = record["question"]["tensor_parallel_size"]
        groups = cache_groups(
            _split(whole[record["config"]], rank, size),
            tensor_parallel_size=size,
            element_bytes=_element_bytes(rank),
            max_model_len=rank["max_model_len"],
        )
        _compare(groups, rank, DEFAULTS | record["question"])
        compared.add(tuple(layer["kind"] for layer in rank["layers"]))
    assert len(compared) >= 6, compared


GEMMA_3_12B = (
    CacheLayers("sliding", tuple(n for n in range(48) if n % 6 < 5), 16, 8, 256, window=1024),
    CacheLayers("full", tuple(range(5, 48, 6)), 16, 8, 256),
)
LENGTH = 131_072


def test_gemma_3_has_five_groups_of_windows_and_one_of_all() -> None:
    groups = cache_groups(GEMMA_3_12B, max_model_len=LENGTH)
    assert [group.kind for group in groups.groups] == ["sliding"] * 5 + ["full"]
    assert {len(group.layers) for group in groups.groups} == {8}
    # Dealt out in turn: the first group has each fifth sliding layer.
    assert groups.groups[0].layers == (0, 6, 12, 18, 24, 30, 36, 42)
    assert groups.groups[5].layers == (5, 11, 17, 23, 29, 35, 41, 47)
    assert [group.window for group in groups.groups] == [1024] * 5 + [None]
    assert groups.bytes_per_block == 8 * 16 * 8 * 256 * 2 * 2  # layers, tokens, heads, numbers, keys and values, bf16
    assert groups.capacity_tokens(20 * GIB, LENGTH, 2048) == 20_480 * LENGTH // 9_157 == 293_147
    # vLLM's CPU build, whose sliding layers have blocks of 32 tokens.
    assert (
        cache_groups(GEMMA_3_12B, block_size=32, max_model_len=LENGTH).capacity_tokens(20 * GIB, LENGTH, 2048)
        == 292_987
    )


def test_gemma_3_starts_on_an_a100_where_windows_are_freed() -> None:
    groups = cache_groups(GEMMA_3_12B, max_model_len=LENGTH)
    kv_bytes = 50_540_000_000
    assert groups.num_blocks(kv_bytes) == 48_198
    assert groups.blocks_of_request(LENGTH, 2048) == 8_192 + 5 * (192 + 1) == 9_157
    assert groups.bytes_of_request(LENGTH, 2048) == 9_157 * groups.bytes_per_block
    assert groups.max_concurrency(kv_bytes, LENGTH, 2048) == pytest.approx(5.26, abs=0.005)
    assert groups.starts(kv_bytes, LENGTH, 2048)
    # Two batches in flight keep twice as much behind the window.
    assert groups.blocks_of_request(LENGTH, 2048, 2) == 8_192 + 5 * (320 + 1) == 9_797
    # Kept whole, 48 layers would take six times as many.
    assert groups.num_blocks(kv_bytes) < 6 * 8_192


def test_the_catalogue_s_gemma_starts() -> None:
    model = find_model("gemma-3-12b")
    assert model_groups(model) == cache_groups(GEMMA_3_12B, max_model_len=LENGTH)
    assert model_groups(model).starts(9_158 * 2**20, LENGTH, 2048)
    assert not model_groups(model).starts(9_158 * 2**20 - 1, LENGTH, 2048)  # the null block
    assert not model_groups(model).starts(9_158 * 2**20, LENGTH, 2048, 2)
    assert model_groups(model, max_model_len=700).starts(2**30, 700, 2048)
    assert not model_groups(model, max_model_len=700).starts(2**28, 700, 2048)


def test_a_model_that_tells_no_caches_has_no_groups() -> None:
    model = replace(find_model("llama-3.1-8b"), caches=())
    with pytest.raises(ConfigError, match="give --kv-blocks"):
        model_groups(model)


def test_kinds_with_hardly_more_layers_than_another_share_one_group_size() -> None:
    # gpt-oss with a drafter: 12 sliding and 13 full layers are two groups, not 12 and 12 and 1.
    caches = (
        CacheLayers("sliding", tuple(range(0, 24, 2)), 64, 8, 64, window=128),
        CacheLayers("full", (*range(1, 24, 2), 24), 64, 8, 64),
    )
    groups = cache_groups(caches, max_model_len=LENGTH)
    assert [len(group.layers) for group in groups.groups] == [12, 13]
    assert groups.bytes_per_block == 13 * 32_768


def test_recurrent_states_raise_the_block_size() -> None:
    # Qwen3.5 27B: 3 x 10,240 in bf16 and 48 x 128 x 128 in fp32 are 3,207,168 bytes, 4 heads of 256 take 4,096 a token:
    # 783 tokens, in multiples of 16.
    caches = (
        CacheLayers(
            "recurrent",
            tuple(n for n in range(64) if n % 4 < 3),
            states=(State((3, 10_240), 1), State((48, 128, 128), 0, 4)),
        ),
        CacheLayers("full", tuple(range(3, 64, 4)), 24, 4, 256),
    )
    groups = cache_groups(caches, max_model_len=262_144)
    assert groups.block_size == 784
    assert {group.page_bytes for group in groups.groups} == {16 * 784 * 4_096}
    assert [group.kind for group in groups.groups] == ["recurrent"] * 3 + ["full"]
    # Two blocks a group of states, the running one and the one at the end of the last block, whatever the length.
    assert groups.blocks_of_request(262_144, 8192) == 335 + 3 * 2
    assert groups.blocks_of_request(100, 8192) == 1 + 3 * 2
    assert cache_groups(caches, block_size=64, max_model_len=262_144).block_size == 832
    assert cache_groups(caches, tensor_parallel_size=8, max_model_len=262_144).block_size == 400  # one KV head a rank
    mamba_2 = (replace(caches[0], num_prefill_checkpoint_blocks=1), caches[1])
    assert cache_groups(mamba_2, max_model_len=262_144).blocks_of_request(262_144, 8192) == 335 + 3 * 3


def test_without_attention_a_request_is_one_block() -> None:
    caches = (CacheLayers("recurrent", tuple(range(64)), states=(State((3, 8192), 1), State((8192, 16), 0))),)
    groups = cache_groups(caches, max_model_len=2048)
    assert [(group.block_size, group.page_bytes) for group in groups.groups] == [(2048, 64 * 311_296)]
    assert groups.block_size == 16
    assert groups.blocks_of_request(2048, 8192) == 1


def test_chunks_are_freed_when_they_end() -> None:
    llama_4 = (
        CacheLayers("chunked", tuple(n for n in range(48) if n % 4 < 3), 40, 8, 128, window=8192),
        CacheLayers("full", tuple(range(3, 48, 4)), 40, 8, 128),
    )
    groups = cache_groups(llama_4, max_model_len=LENGTH)
    assert [group.kind for group in groups.groups] == ["chunked"] * 3 + ["full"]
    assert groups.blocks_of_request(LENGTH, 2048) == 8_192 + 3 * (8_192 + 2_048) // 16
    assert groups.blocks_of_request(1_000, 2048) == 4 * 63


def test_latent_vectors_are_on_every_rank_and_an_indexer_shares_their_blocks() -> None:
    layers = tuple(range(61))
    attention = CacheLayers("mla", layers, 128, 1, 576, value_dim=0, fp8_state_content_bytes=656)
    assert cache_groups((attention,), tensor_parallel_size=8, max_model_len=LENGTH).bytes_per_block == 61 * 16 * 1_152
    indexer = CacheLayers("mla", layers, 64, 1, 132, value_dim=0, state_content_bytes=132)
    for element_bytes, numbers in ((2, 1_152), (1, 656)):
        groups = cache_groups(
            (indexer, attention), tensor_parallel_size=8, element_bytes=element_bytes, max_model_len=LENGTH
        )
        assert len(groups.groups) == 1
        assert groups.groups[0].layers == tuple(layer for layer in layers for _ in range(2))
        assert groups.bytes_per_block == 61 * 16 * (132 + numbers)


GEMMA_4_26B = (
    CacheLayers("sliding", tuple(n for n in range(30) if n % 6 < 5), 16, 8, 256, window=1024),
    CacheLayers("full", tuple(range(5, 30, 6)), 16, 2, 512),
)


def test_pages_that_differ_lie_side_by_side_or_become_alike() -> None:
    # A page of 16 tokens has 131,072 bytes in a sliding layer, and 65,536 in a full one.
    packed = cache_groups(GEMMA_4_26B, max_model_len=262_144, layout="BLNHC")
    assert packed == cache_groups(GEMMA_4_26B, max_model_len=262_144)
    # Five full layers make a block of 327,680 bytes, in which two sliding ones fit.
    assert [len(group.layers) for group in packed.groups] == [2] * 12 + [1, 5]
    assert packed.bytes_per_block == 5 * 65_536
    # Layers outermost, a block of the full layers has 32 tokens instead.
    alike = cache_groups(GEMMA_4_26B, max_model_len=262_144, layout="LBNHC")
    assert [(group.block_size, len(group.layers)) for group in alike.groups] == [(16, 5)] * 5 + [(32, 5)]
    assert alike.bytes_per_block == 5 * 131_072
    assert alike.blocks_of_request(262_144, 8192) == 5 * 577 + 8_192


def test_layers_of_several_sizes_in_equal_numbers_stay_together() -> None:
    wide, narrow = CacheLayers("full", (0, 3), 8, 8, 128), CacheLayers("full", (1, 4), 8, 8, 64)
    # Groups of two such pairs would leave one sliding layer alone, groups of three have room for one pair more: both
    # waste one, and vLLM takes the larger.
    sliding = CacheLayers("sliding", (2, 5, 6), 8, 8, 96, window=64)
    groups = cache_groups((wide, narrow, sliding), max_model_len=4096)
    assert [group.layers for group in groups.groups] == [(0, 1, 3, 4), (2, 5, 6)]
    # Four sliding layers fill two groups of two.
    groups = cache_groups((wide, narrow, replace(sliding, layers=(2, 5, 6, 7))), max_model_len=4096)
    assert [group.layers for group in groups.groups] == [(0, 1, 3, 4), (2, 6), (5, 7)]
    assert groups.bytes_per_block == 2 * (65_536 + 32_768)


def test_a_page_that_does_not_divide_the_largest_is_padded() -> None:
    caches = (CacheLayers("sliding", (0, 1), 8, 3, 64, window=64), CacheLayers("full", (2, 3), 8, 4, 64))
    groups = cache_groups(caches, max_model_len=4096, layout="LBNHC")
    assert [(group.block_size, group.page_bytes) for group in groups.groups] == [(16, 2 * 16_384)] * 2


CACHES = st.lists(
    st.builds(
        CacheLayers,
        st.sampled_from(["full", "sliding", "chunked"]),
        st.just(()),
        n_kv_heads=st.sampled_from([1, 2, 3, 8]),
        head_dim=st.sampled_from([64, 128, 256]),
        window=st.sampled_from([100, 1024]),
    ).map(lambda cache: replace(cache, window=None) if cache.kind == "full" else cache)
    | st.builds(
        CacheLayers,
        st.just("recurrent"),
        st.just(()),
        states=st.tuples(st.builds(State, st.tuples(st.integers(1, 9_000)), st.just(0))),
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def _groups(draw: st.DrawFn) -> Groups:
    kinds = draw(CACHES)
    order = draw(st.lists(st.integers(0, len(kinds) - 1), min_size=1, max_size=20))
    placed = [
        replace(kind, layers=tuple(layer for layer, found in enumerate(order) if found == place))
        for place, kind in enumerate(kinds)
    ]
    layout = draw(st.sampled_from(["LBNHC", "BLNHC", None]))
    try:
        return cache_groups([cache for cache in placed if cache.layers], max_model_len=8192, layout=layout)
    except ConfigError:  # as vLLM: what goes beyond whole repeats of several windows is in no group
        return cache_groups([replace(kinds[0], layers=(0,))], max_model_len=8192)


@given(_groups(), st.integers(1, 2**31), st.integers(1, 8192), st.integers(0, 2**28))
def test_blocks_stay_in_memory_and_more_memory_holds_no_less(
    groups: Groups, kv_bytes: int, length: int, more: int
) -> None:
    blocks = groups.num_blocks(kv_bytes)
    # Whichever group a block is lent to, its pages fit.
    assert all(blocks * group.page_bytes <= kv_bytes for group in groups.groups)
    assert groups.capacity_tokens(kv_bytes, length, 2048) <= groups.capacity_tokens(kv_bytes + more, length, 2048)
    assert groups.bytes_of_request(length, 2048) <= groups.bytes_of_request(length + 1, 2048)
    assert groups.blocks_of_request(length, 2048) <= groups.blocks_of_request(length, 4096)


@given(_groups(), st.integers(1, 2**28))
def test_the_greatest_length_starts_and_one_token_more_does_not(groups: Groups, kv_bytes: int) -> None:
    longest = groups.estimate_max_model_len(kv_bytes, 8192, 2048)
    assert 0 <= longest <= 8192
    if longest:
        assert groups.starts(kv_bytes, longest, 2048)
    if longest < 8192:
        assert not groups.starts(kv_bytes, longest + 1, 2048)
