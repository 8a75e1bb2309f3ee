"""Towers of a single model family: Llama 4, GLM-4.1V and its successors, ERNIE 4.5 VL."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.towers.parts import blocks, matrix, n_patches, norm, part_of, patches, vector
from continuum_sim.hardware.weights import Weight


def llama4(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Llama 4."""
    vision = outer.part("vision_config") or Fields(outer.path, {}, outer, "llama4_vision_model")
    hidden, inner = vision.count("hidden_size", default=768), vision.count("intermediate_size", default=5632)
    patch, channels = vision.count("patch_size", default=14), vision.count("num_channels", default=3)
    into, out = vision.count("projector_input_dim", default=4096), vision.count("projector_output_dim", default=4096)
    bias = vision.flag("multi_modal_projector_bias")
    return [
        *vector("vision_model.class_embedding", hidden),
        *matrix("vision_model.positional_embedding_vlm", n_patches(vision) + 1, hidden, bias=False),
        *matrix("vision_model.patch_embedding.linear", hidden, channels * patch**2, by="rows", bias=False),
        *norm("vision_model.layernorm", hidden, count=2),
        *blocks(
            "vision_model.model.layers",
            vision.count("num_hidden_layers", default=34),
            hidden,
            inner,
            vision.count("num_attention_heads", default=16),
        ),
        *matrix("vision_model.vision_adapter.mlp.fc1", into, inner, by="rows", bias=bias),
        *matrix("vision_model.vision_adapter.mlp.fc2", out, into, by="columns", bias=bias),
        *matrix(
            "multi_modal_projector.linear_1",
            text.count("hidden_size"),
            vision.count("vision_output_dim", default=7680),
            by="rows",
            bias=False,
        ),
    ]


def glm4v(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of GLM-4.1V and GLM-4.5V, whose MLPs are as wide as its output."""
    vision = part_of(outer)
    hidden = vision.count("hidden_size", default=1536)
    out, inner = (
        vision.count(name, default=text.count("hidden_size")) for name in ("out_hidden_size", "intermediate_size")
    )
    merge = vision.count("spatial_merge_size", default=2)
    return [
        *patches(vision, "visual.patch_embed.proj", hidden, times=vision.count("temporal_patch_size", default=2)),
        *matrix("visual.embeddings.position_embedding", n_patches(vision), hidden, bias=False),
        *blocks(
            "visual.blocks",
            vision.count("depth", default=24),
            hidden,
            out,
            vision.count("num_heads", default=12),
            gated=True,
            bias=False,
            norm_bias=False,
        ),
        *norm("visual.post_layernorm", hidden, count=2, bias=False),
        *matrix("visual.downsample", out, hidden * merge**2),
        *matrix("visual.merger.proj", out, out, by="rows", bias=False),
        *norm("visual.merger.post_projection_norm", out),
        *matrix("visual.merger.up_proj", inner, out, by="rows", bias=False, count=2),
        *matrix("visual.merger.down_proj", out, inner, by="columns", bias=False),
    ]


def ernie_vl(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of ERNIE 4.5 VL and its resampler."""
    vision = part_of(outer)
    hidden, ratio = vision.count("embed_dim", "hidden_size", default=1280), vision.count("mlp_ratio", default=4)
    patch, channels = vision.count("patch_size", default=14), vision.count("in_channels", "in_chans", default=3)
    spatial = hidden * outer.count("spatial_conv_size", default=2) ** 2
    frames, out = outer.count("temporal_conv_size", default=2), text.count("hidden_size")
    found = [
        *matrix("vision_model.patch_embed.proj", hidden, channels * patch**2, bias=False),
        *blocks(
            "vision_model.blocks",
            vision.count("depth", default=32),
            hidden,
            ratio * hidden,
            vision.count("num_heads", default=16),
        ),
        *norm("vision_model.ln", hidden),
        *matrix("resampler_model.spatial_linear", spatial, spatial, by="rows", count=2),
        *norm("resampler_model.spatial_norm", spatial),
        *matrix("resampler_model.mlp", out, spatial, by="rows"),
        *norm("resampler_model.after_norm", out, bias=False),
    ]
    if outer.flag("use_temporal_conv", default=True):
        found += matrix("resampler_model.temporal_linear1", spatial, spatial * frames, by="rows")
        found += matrix("resampler_model.temporal_linear2", spatial, spatial, by="rows")
        found += norm("resampler_model.temporal_norm", spatial)
    return found
