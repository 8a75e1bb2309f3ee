"""MoonViT, the tower of Kimi models; every rank holds all of it unless its heads divide over the ranks."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.towers.parts import blocks, matrix, norm, pair, part_of, patches
from continuum_sim.hardware.weights import Weight


def kimi_vl(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Kimi-VL."""
    vision = part_of(outer)
    hidden = vision.count("hidden_size", default=1152)
    wide = hidden * _merged(vision)
    return [
        *_tower(vision, hidden, "", biased=True),
        *norm("multi_modal_projector.pre_norm", hidden),
        *matrix("multi_modal_projector.linear_1", wide, wide),
        *matrix("multi_modal_projector.linear_2", text.count("hidden_size"), wide),
    ]


def kimi_k25(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Kimi K2.5 and K3."""
    vision = part_of(outer)
    hidden = vision.count("vt_hidden_size", default=1152)
    wide, out = vision.count("mm_hidden_size", default=hidden) * _merged(vision), text.count("hidden_size")
    later = vision.get("mm_projector_type") == "patchmergerv2"
    return [
        *_tower(vision, hidden, "vt_", biased=vision.flag("attn_bias", default=True)),
        *(norm("mm_projector.post_norm", out, bias=False) if later else norm("mm_projector.pre_norm", hidden)),
        *matrix("mm_projector.linear_1", wide, wide, bias=not later),
        *matrix("mm_projector.linear_2", out, wide, bias=not later),
    ]


def _tower(vision: Fields, hidden: int, spelled: str, *, biased: bool) -> list[Weight]:
    height, width = (vision.count(f"init_pos_emb_{side}", default=64) for side in ("height", "width"))
    norm_bias = vision.get("norm_type") in (None, "layernorm")
    return [
        *patches(
            vision, "vision_tower.patch_embed.proj", hidden, bias=vision.flag("patch_embed_proj_bias", default=True)
        ),
        *matrix("vision_tower.patch_embed.pos_emb", height * width, hidden, bias=False),
        *blocks(
            "vision_tower.encoder.blocks",
            vision.count(f"{spelled}num_hidden_layers", default=27),
            hidden,
            vision.count(f"{spelled}intermediate_size", default=4304),
            vision.count(f"{spelled}num_attention_heads", default=16),
            width=vision.count("qkv_hidden_size", default=hidden),
            bias=biased,
            norm_bias=norm_bias,
            evenly=True,
        ),
        *norm("vision_tower.encoder.final_layernorm", hidden, bias=norm_bias),
    ]


def _merged(vision: Fields) -> int:
    height, width = pair(vision, "merge_kernel_size", (2, 2))
    return height * width
