"""Vision towers used by many models: SigLIP, CLIP and Pixtral's."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.towers.parts import blocks, matrix, n_patches, norm, patches, vector
from continuum_sim.hardware.weights import Weight


def siglip(vision: Fields, at: str, *, n_layers: int | None = None, post_norm: bool = True) -> list[Weight]:
    """Return a SigLIP tower up to a layer, with or without the norm after it."""
    hidden = vision.count("hidden_size", default=768)
    return [
        *patches(vision, f"{at}.embeddings.patch_embedding", hidden, patch=16),
        *matrix(f"{at}.embeddings.position_embedding", n_patches(vision), hidden, bias=False),
        *_blocks(vision, at, hidden, n_layers),
        *norm(f"{at}.post_layernorm", hidden, count=1 if post_norm else 0),
    ]


def clip(vision: Fields, at: str, *, n_layers: int | None = None, post_norm: bool = True) -> list[Weight]:
    """Return a CLIP tower up to a layer, with or without the norm after it."""
    hidden = vision.count("hidden_size", default=768)
    return [
        *vector(f"{at}.embeddings.class_embedding", hidden),
        *patches(vision, f"{at}.embeddings.patch_embedding", hidden, bias=False, patch=32),
        *matrix(f"{at}.embeddings.position_embedding", n_patches(vision) + 1, hidden, bias=False),
        *norm(f"{at}.pre_layrnorm", hidden),
        *_blocks(vision, at, hidden, n_layers),
        *norm(f"{at}.post_layernorm", hidden, count=1 if post_norm else 0),
    ]


def pixtral(vision: Fields, at: str, *, n_layers: int | None = None) -> list[Weight]:
    """Return Pixtral's tower, up to a layer."""
    hidden = vision.count("hidden_size", default=1024)
    return [
        *patches(vision, f"{at}.patch_conv", hidden, bias=False, patch=16),
        *norm(f"{at}.ln_pre", hidden, bias=False),
        *blocks(
            f"{at}.transformer.layers",
            vision.count("num_hidden_layers", default=24) if n_layers is None else n_layers,
            hidden,
            vision.count("intermediate_size", default=4096),
            vision.count("num_attention_heads", default=16),
            gated=True,
            bias=False,
            norm_bias=False,
        ),
    ]


def _blocks(vision: Fields, at: str, hidden: int, n_layers: int | None) -> list[Weight]:
    return blocks(
        f"{at}.encoder.layers",
        vision.count("num_hidden_layers", default=12) if n_layers is None else n_layers,
        hidden,
        vision.count("intermediate_size", default=3072),
        vision.count("num_attention_heads", default=12),
    )
