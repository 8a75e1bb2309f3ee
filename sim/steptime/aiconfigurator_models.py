"""Models as aiconfigurator knows them: configurations of the architectures whose layers it has tables of."""

from __future__ import annotations

from typing import Any

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.weights import Weight
from continuum_sim.steptime.timed import is_dense, untimed

ARCHITECTURES = "dense models without windows, mixtures with full attention, DeepSeek-V3, -V3.2 and GLM-5, and gpt-oss"
"""What `hf_config` makes configurations of."""


def hf_config(model: ModelSpec) -> dict[str, Any] | None:
    """Return the shapes as the Hugging Face configuration of an architecture that the package knows.

    None if it knows none with these layers, or none stored like these weights.
    """
    if untimed(model) is not None or not model.gated_mlp or model.norms_per_layer != 2:
        return None
    if is_dense(model):
        plain = not model.n_sliding_layers and len(model.attention) == 1 and model.quantization is None
        return _dense(model) if plain else None
    if not (routed := _Routed.of(model)):
        return None
    if model.model_type == "gpt_oss" and model.quantization == "gpt_oss_mxfp4":
        return {**_mixture(model, routed, "GptOss", "gpt_oss"), "quantization_config": {"quant_method": "mxfp4"}}
    stored = _stored(model)
    if stored is None:
        return None
    if all(cache.kind == "full" and not cache.chosen for cache in model.caches) and len(model.caches) == 1:
        alike = len(routed.layers) == model.n_layers and not routed.shared
        if not alike:
            return None
        family = ("Qwen3Moe", "qwen3_moe") if model.qk_norm else ("Mixtral", "mixtral")
        return {**_mixture(model, routed, *family), **stored}
    latent = next((cache for cache in model.caches if cache.latent is not None), None)
    if latent is None or any(cache.kind != "mla" for cache in model.caches):
        return None
    return {**_latent(model, latent, routed), **stored}


class _Routed:
    """The experts of a model, if all its mixtures are alike."""

    def __init__(self, down: Weight, shared: int) -> None:
        self.layers, self.visited, self.count, self.width = down.layers, down.visited, down.count, down.columns
        self.shared = shared
        """Experts that all tokens visit."""

    @classmethod
    def of(cls, model: ModelSpec) -> _Routed | None:
        down = [weight for weight in model.expert_weights() if weight.name.endswith("down_proj")]
        if len(down) != 1 or down[0].layers != tuple(range(model.n_layers - len(down[0].layers), model.n_layers)):
            return None
        shared = [one for one in model.linear_weights() if "shared" in one.name and one.name.endswith("down_proj")]
        return cls(down[0], shared[0].columns // down[0].columns if shared else 0)


def _stored(model: ModelSpec) -> dict[str, Any] | None:
    """Return how the weights are stored: bf16, or fp8 in blocks; None otherwise."""
    if model.quantization is None:
        return {}
    kinds = {weight.stored for weight in (*model.expert_weights(), *model.linear_weights())}
    blocks = {(kind.scale_rows, kind.scale_columns) for kind in kinds if kind.name == "fp8"}
    if not {kind.name for kind in kinds} <= {"fp8", "bf16", "fp32"} or blocks != {(128, 128)}:
        return None
    quantised = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    return {"quantization_config": quantised}


def _dense(model: ModelSpec) -> dict[str, Any]:
    family = "Qwen3" if model.qk_norm else "Qwen2" if model.qkv_bias else "Llama"
    return _shapes(model, family, family.lower())


def _shapes(model: ModelSpec, family: str, kind: str) -> dict[str, Any]:
    return {
        "architectures": [f"{family}ForCausalLM"],
        "model_type": kind,
        "num_hidden_layers": model.n_layers,
        "hidden_size": model.hidden,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.intermediate,
        "vocab_size": model.vocab,
        "max_position_embeddings": model.longest_model_len or model.max_model_len,
        "tie_word_embeddings": model.tied_embeddings,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    }


def _mixture(model: ModelSpec, routed: _Routed, family: str, kind: str) -> dict[str, Any]:
    return {
        **_shapes(model, family, kind),
        "intermediate_size": routed.width,
        "moe_intermediate_size": routed.width,
        "num_local_experts": routed.count,
        "num_experts": routed.count,
        "num_experts_per_tok": routed.visited,
    }


def _latent(model: ModelSpec, cache: CacheLayers, routed: _Routed) -> dict[str, Any]:
    """Return a configuration of DeepSeek-V3, or with an indexer of DeepSeek-V3.2."""
    assert cache.latent is not None
    latent, index = cache.latent, next((one for one in model.caches if one.index_heads), None)
    queries = next((one for one in model.linear_weights() if one.name.endswith("q_a_proj")), None)
    found = {
        **_mixture(model, routed, "DeepseekV3" if index is None else "DeepseekV32", "deepseek_v3"),
        "intermediate_size": model.intermediate,
        "num_key_value_heads": model.n_heads,
        "n_routed_experts": routed.count,
        "n_shared_experts": routed.shared,
        "first_k_dense_replace": model.n_layers - len(routed.layers),
        "q_lora_rank": None if queries is None else queries.rows,
        "kv_lora_rank": latent.size,
        "qk_nope_head_dim": latent.plain,
        "qk_rope_head_dim": latent.rotary,
        "v_head_dim": latent.value,
    }
    del found["head_dim"]
    if index is not None:
        found |= {"index_n_heads": index.index_heads, "index_head_dim": index.index_dim, "index_topk": cache.chosen}
    return found
