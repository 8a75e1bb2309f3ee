"""The role of each layer: how it mixes tokens (some attention, a recurrence) and whether an MLP follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.layer_types import Mixer, check_attends, check_long, layers_by_type, window
from continuum_sim.hardware.hf.unread import Unread

_LATENT: Final = (
    "axk1",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "glm4_moe_lite",
    "glm_moe_dsa",
    "kimi_k2",
    "longcat_flash",
    "pangu_ultra_moe",
)
"""Types for which vLLM keeps only the latent vector (`is_deepseek_mla`), if `kv_lora_rank` is given."""


def layer_count(fields: Fields) -> int:
    """Return the number of layers; 1 if nothing gives it."""
    if not fields.has("num_hidden_layers") and (pattern := _nemotron_pattern(fields)):
        return len(pattern)
    if fields.model_type == "longcat_flash":  # each of its layers attends twice
        return 2 * fields.count("num_layers")
    return fields.count("num_hidden_layers", default=1)


def mixers(fields: Fields, n_layers: int) -> tuple[Mixer, ...]:
    """Return how each layer mixes tokens.

    Raises
    ------
    ConfigError, Unread
        For a malformed field, or an unknown kind of layer.
    """
    if (layout := _LAYOUTS.get(fields.model_type)) is not None:
        return tuple(layout(fields, n_layers))
    if fields.model_type in _LATENT and fields.get("kv_lora_rank") is not None:
        return ("mla",) * n_layers
    if not family_of(fields.model_type).recurrence:
        check_attends(fields)
    return tuple(layers_by_type(fields, n_layers))


def mlp_layers(fields: Fields, n_layers: int) -> tuple[int, ...]:
    """Return the layers that have an MLP or a mixture of experts."""
    layers = range(n_layers)
    if pattern := _nemotron_pattern(fields):
        return tuple(layer for layer in layers if pattern[layer] in "-E")
    if blocks := fields.each("block_configs"):
        return tuple(layer for layer in layers if not (_sub(blocks, layer, "ffn").get("no_op")))
    # In Zamba 2 the shared blocks have it.
    return () if fields.model_type in ("falcon_mamba", "mamba", "mamba2", "zamba2") else tuple(layers)


def block_config(fields: Fields, layer: int, part: str) -> Mapping[str, Any]:
    """Return a part of the layer's entry in `block_configs`, for models found by an architecture search.

    Raises
    ------
    ConfigError
        If there is no such entry.
    """
    blocks = fields.each("block_configs") or []
    if layer >= len(blocks):
        raise fields.error("block_configs", f"{len(blocks)} long", "one entry a layer")
    return _sub(blocks, layer, part)


def _sub(blocks: Sequence[Any], layer: int, part: str) -> Mapping[str, Any]:
    block = blocks[layer] if layer < len(blocks) else None
    value = block.get(part) if isinstance(block, dict) else None
    return value if isinstance(value, dict) else {}


def _llama4(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    """Layers with positions have chunked attention."""
    if not fields.get("attention_chunk_size"):
        return ("full",) * n_layers
    if rope := fields.each("no_rope_layers"):
        check_long(fields, "no_rope_layers", rope, n_layers)
        return ["chunked" if rope[layer] else "full" for layer in range(n_layers)]
    every = fields.count("no_rope_layer_interval", default=4)
    return ["full" if (layer + 1) % every == 0 else "chunked" for layer in range(n_layers)]


def _gpt_oss(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    slides = window(fields) is not None
    return ["sliding" if slides and layer % 2 == 0 else "full" for layer in range(n_layers)]


def _cwm(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    if fields.each("layer_types") is not None:
        return layers_by_type(fields, n_layers)
    slides = window(fields) is not None
    return ["sliding" if slides and layer % 4 else "full" for layer in range(n_layers)]


def _cohere2_moe(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    """The dense layers in front have their own pattern, after which the other one begins."""
    if fields.each("layer_types") is not None:
        return layers_by_type(fields, n_layers)
    slides, first = window(fields) is not None, fields.count("first_k_dense_replace", default=0, least=0)
    dense = fields.count("prefix_dense_sliding_window_pattern", default=1)
    every = fields.count("sliding_window_pattern", default=4)
    places = [(layer + 1) % dense if layer < first else (layer - first + 1) % every for layer in range(n_layers)]
    return ["sliding" if slides and place else "full" for place in places]


def _smollm3(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    """Layers without positions slide, if any do."""
    if fields.each("layer_types") is not None:
        return layers_by_type(fields, n_layers)
    if window(fields) is None or not fields.flag("use_sliding_window"):
        return ("full",) * n_layers
    every = fields.count("no_rope_layer_interval", default=4)
    rope = fields.each("no_rope_layers") or [(layer + 1) % every for layer in range(n_layers)]
    check_long(fields, "no_rope_layers", rope, n_layers)
    return ["full" if rope[layer] else "sliding" for layer in range(n_layers)]


def _minimax_m3(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    """The first layers have full attention, the others attend to what their indexers choose."""
    given = fields.get("sparse_attention_config")
    sparse = given.get("sparse_attention_freq") if isinstance(given, dict) else None
    if not isinstance(sparse, list):
        sparse = [layer >= 3 for layer in range(n_layers)]
    check_long(fields, "sparse_attention_freq", sparse, n_layers)
    return ["block_sparse" if each else "full" for each in sparse[:n_layers]]


def _mimo_v2(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    pattern = fields.each("hybrid_layer_pattern")
    if pattern is None:
        return layers_by_type(fields, n_layers)
    check_long(fields, "hybrid_layer_pattern", pattern, n_layers)
    return ["sliding" if pattern[layer] == 1 else "full" for layer in range(n_layers)]


def _nas(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    """A layer may attend, replace attention by a linear layer, or omit it."""
    found = []
    for layer in range(n_layers):
        attention = block_config(fields, layer, "attention")
        if attention.get("replace_with_linear"):
            raise Unread(f"{fields.path}: linear layers in place of attention are not known")
        found.append("none" if attention.get("no_op") else "full")
    return found


def _jamba(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    every, first = fields.count("attn_layer_period"), fields.count("attn_layer_offset", least=0)
    return ["full" if layer % every == first else "mamba" for layer in range(n_layers)]


def _qwen_next(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    if fields.each("layer_types") is not None:
        return layers_by_type(fields, n_layers)
    every = fields.count("full_attention_interval", default=4)
    return ["full" if (layer + 1) % every == 0 else "gated_delta" for layer in range(n_layers)]


def _lfm2(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    if fields.each("layer_types") is not None:
        return layers_by_type(fields, n_layers)
    attend = fields.each("full_attn_idxs")
    return ["full" if attend is None or layer in attend else "conv" for layer in range(n_layers)]


def _kimi_linear(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    given = fields.get("linear_attn_config")
    recurrent = given.get("kda_layers") if isinstance(given, dict) else None
    if not isinstance(recurrent, list):
        raise fields.error("linear_attn_config", given, "an object with kda_layers, the layers counted from 1")
    return ["kda" if layer + 1 in recurrent else "mla" for layer in range(n_layers)]


def _bailing(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    """One layer in each group attends to latent vectors; in version 3, so do the layers left over at the end."""
    every, third = fields.count("layer_group_size", default=1), fields.flag("no_kda_lora")
    recurrence, whole = ("kda", n_layers // every * every) if third else ("lightning", n_layers)
    return ["mla" if (layer + 1) % every == 0 or layer >= whole else recurrence for layer in range(n_layers)]


def _zamba2(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    types, shared = fields.each("layers_block_type", "layer_types"), fields.each("hybrid_layer_ids")
    if types is None and shared is None:
        raise fields.error("layers_block_type", None, "hybrid or mamba for each layer")
    if types is not None:
        check_long(fields, "layers_block_type", types, n_layers)
        shared = [layer for layer in range(n_layers) if types[layer] == "hybrid"]
    return ["mamba2_shared_block" if layer in (shared or ()) else "mamba2" for layer in range(n_layers)]


def _nemotron_h(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    pattern = _nemotron_pattern(fields)
    if pattern is None:
        raise fields.error("hybrid_override_pattern", None, "a letter a layer: M, *, - or E")
    check_long(fields, "hybrid_override_pattern", pattern, n_layers)
    attends = "full" if window(fields) is None else "sliding"
    return [{"M": "mamba2", "*": attends}.get(letter, "none") for letter in pattern[:n_layers]]


def _nemotron_pattern(fields: Fields) -> str | None:
    """Return the letters of Nemotron-H: M a state-space layer, * attention, - an MLP, E a mixture."""
    if "nemotron_h" not in fields.model_type:
        return None
    pattern = fields.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return pattern
    words = fields.each("layers_block_type", "layer_types")
    letters = {"mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*", "mlp": "-", "moe": "E"}
    return None if words is None else "".join(letters.get(str(word), "?") for word in words)


def _all(mixer: Mixer) -> Callable[[Fields, int], Sequence[Mixer]]:
    return lambda fields, n_layers: (mixer,) * n_layers


_LAYOUTS: Final[Mapping[str, Callable[[Fields, int], Sequence[Mixer]]]] = {
    "bailing_hybrid": _bailing,
    "cohere2_moe": _cohere2_moe,
    "cwm": _cwm,
    "deepseek_v4": _all("compressed"),
    "falcon_h1": _all("mamba2_attention"),
    "falcon_mamba": _all("mamba"),
    "gpt_oss": _gpt_oss,
    "jamba": _jamba,
    "kimi_linear": _kimi_linear,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2,
    "llama4_text": _llama4,
    "mamba": _all("mamba"),
    "mamba2": _all("mamba2"),
    "mimo_v2": _mimo_v2,
    "mimo_v2_flash": _mimo_v2,
    "minicpm3": _all("latent_projections"),
    "minimax_m3_text": _minimax_m3,
    "minimax_m3_vl_text": _minimax_m3,
    "nemotron-nas": _nas,
    "nemotron_h": _nemotron_h,
    "nemotron_h_puzzle": _nemotron_h,
    "olmo_hybrid": _qwen_next,
    "qwen3_5_moe_text": _qwen_next,
    "qwen3_5_text": _qwen_next,
    "qwen3_next": _qwen_next,
    "qwen2_moe": _all("full"),  # its class makes every other layer slide, but vLLM makes none slide
    "smollm3": _smollm3,
    "step3_text": _all("factorised"),
    "zamba2": _zamba2,
}
"""Types whose layers cannot be told apart by common fields."""
