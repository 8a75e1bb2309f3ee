"""Step 3: queries of all heads are projected from one shared vector, and all heads share the keys and values of one."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import Weight


def factorised_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of the layers; every rank holds the shared vector, the keys and the values."""
    hidden, where, n_heads = fields.count("hidden_size"), tuple(layers), fields.count("num_attention_heads")
    head_dim = fields.count("head_dim", default=256)
    shared, at = fields.count("share_q_dim", default=head_dim), "model.layers.{}.self_attn."
    weights = [
        Weight(f"{at}qkv_proj", shared + 2 * head_dim, hidden, where),
        Weight(f"{at}inter_norm", shared, layers=where, use="vector"),
        Weight(f"{at}wq", n_heads * head_dim, shared, where, parts=n_heads),
        Weight(f"{at}o_proj", hidden, n_heads * head_dim, where, parts=n_heads),
    ]
    return [CacheLayers("full", where, n_heads, 1, head_dim)], weights
