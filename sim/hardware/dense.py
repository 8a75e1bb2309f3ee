"""A plain dense model from its shapes, for models without a configuration."""

from __future__ import annotations

from pathlib import Path

from continuum_sim.hardware.hf import read_model
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.model_spec import ModelSpec


def dense_model(
    name: str,
    *,
    n_layers: int,
    hidden: int,
    n_heads: int,
    n_kv_heads: int,
    head_dim: int,
    intermediate: int,
    vocab: int,
    max_model_len: int,
    sliding_window: int | None = None,
    n_sliding_layers: int = 0,
    tied_embeddings: bool = False,
) -> ModelSpec:
    """Return a Llama-like model; its last `n_sliding_layers` layers attend to a window.

    Raises
    ------
    ConfigError
        If a shape is impossible.
    """
    types = ["full_attention"] * (n_layers - n_sliding_layers) + ["sliding_attention"] * n_sliding_layers
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": n_layers,
        "hidden_size": hidden,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
        "intermediate_size": intermediate,
        "vocab_size": vocab,
        "max_position_embeddings": max_model_len,
        "sliding_window": sliding_window,
        "layer_types": types,
        "tie_word_embeddings": tied_embeddings,
    }
    return read_model(Fields(Path(name), config), name=name)
