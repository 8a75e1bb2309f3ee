"""A random-weight Llama or Gemma 3, small enough for vLLM on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

from continuum_sim.traces.files import write_text


def write_tiny_model(
    folder: Path,
    *,
    hidden_size: int = 512,
    num_hidden_layers: int = 2,
    num_attention_heads: int = 8,
    num_key_value_heads: int = 4,
    vocab_size: int = 1024,
    max_position_embeddings: int = 32768,
    sliding_window: int = 0,
) -> Path:
    """Write the `config.json` of a small model into a folder, for vLLM's `load_format="dummy"`.

    It is a Llama, or with a sliding window a Gemma 3, of whose layers every sixth keeps all tokens. Returns the folder.
    An existing file that differs is replaced atomically (write, then rename).
    """
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden_size,
        "intermediate_size": hidden_size * 3,
        "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": num_attention_heads,
        "num_key_value_heads": num_key_value_heads,
        "head_dim": hidden_size // num_attention_heads,
        "vocab_size": vocab_size,
        "max_position_embeddings": max_position_embeddings,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "float32",
    }
    if sliding_window:
        config |= {
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "sliding_window": sliding_window,
            "sliding_window_pattern": 6,
            "rope_local_base_freq": 10000.0,
            "query_pre_attn_scalar": hidden_size // num_attention_heads,
            "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
        }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", json.dumps(config, indent=1))
    return folder
