"""InternViT, the tower of InternVL models, as in Hugging Face's class and in the models' own code."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.towers.parts import By, blocks, matrix, n_patches, norm, part_of, patches, vector
from continuum_sim.hardware.weights import Weight


def internvl(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Hugging Face's class, whose attention every rank holds whole."""
    vision = part_of(outer)
    hidden, n_layers = vision.count("hidden_size", default=1024), vision.count("num_hidden_layers", default=24)
    return [
        *_tower(vision, hidden, n_layers, None, vision.flag("attention_bias"), vision.flag("use_qk_norm")),
        *norm("vision_tower.layernorm", hidden, count=0 if vision.flag("use_mean_pooling", default=True) else 1),
        *_projector(outer, text, hidden),
    ]


def internvl_chat(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of the models' own code, up to the layer that supplies features."""
    vision = part_of(outer)
    hidden, n_layers = vision.count("hidden_size", default=1024), vision.count("num_hidden_layers", default=24)
    wanted = outer.get("select_layer")
    if isinstance(wanted, int):
        upto = n_layers + wanted + 1 if wanted < 0 else wanted + 1
        if not 0 < upto <= n_layers:
            raise outer.error("select_layer", wanted, f"a layer of the {n_layers} that there are")
        n_layers = upto
    bias, qk_norm = vision.flag("qkv_bias"), vision.flag("qk_normalization")
    return [*_tower(vision, hidden, n_layers, "rows", bias, qk_norm), *_projector(outer, text, hidden)]


def _tower(vision: Fields, hidden: int, n_layers: int, attention: By, qkv_bias: bool, qk_norm: bool) -> list[Weight]:
    inner = vision.count("intermediate_size", default=4 * hidden)
    layers, heads = range(n_layers), vision.count("num_attention_heads", default=16)
    if heads % 2:  # InternViT-6B's 25 heads are not divided
        attention = None
    return [
        *vector("vision_model.embeddings.class_embedding", hidden),
        *patches(vision, "vision_model.embeddings.patch_embedding", hidden),
        *matrix("vision_model.embeddings.position_embedding", n_patches(vision) + 1, hidden, bias=False),
        *blocks(
            "vision_model.encoder.layers",
            n_layers,
            hidden,
            inner,
            heads,
            attention=attention,
            qkv_bias=qkv_bias,
            norm_bias=vision.get("norm_type") != "rms_norm",
        ),
        *vector("vision_model.encoder.layers.{}.scale", hidden, layers=layers, count=4 if qk_norm else 2),
    ]


def _projector(outer: Fields, text: Fields, hidden: int) -> list[Weight]:
    ratio = outer.get("downsample_ratio")
    wide = hidden * int(1 / (ratio if isinstance(ratio, int | float) and ratio > 0 else 0.5)) ** 2
    out = text.count("hidden_size")
    return [*norm("mlp1.0", wide), *matrix("mlp1.1", out, wide), *matrix("mlp1.3", out, out)]
