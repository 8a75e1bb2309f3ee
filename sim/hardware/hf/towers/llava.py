"""LLaVA and similar models: a tower used up to one of its layers, and a projector."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.towers.parts import By, matrix, norm, part_of, vector
from continuum_sim.hardware.hf.towers.siglip import clip, pixtral, siglip
from continuum_sim.hardware.hf.unread import Unread
from continuum_sim.hardware.weights import Weight


def llava(outer: Fields, text: Fields) -> list[Weight]:
    """Return the towers of LLaVA 1.5, LLaVA-NeXT and Pixtral 12B."""
    found = [*_tower(outer), *_projector(outer, text)]
    return [*found, *vector("image_newline", text.count("hidden_size"))] if outer.model_type == "llava_next" else found


def llava_onevision(outer: Fields, text: Fields) -> list[Weight]:
    """Return the towers of LLaVA-OneVision."""
    return [
        *_tower(outer),
        *_projector(outer, text, divided=False),
        *vector("image_newline", text.count("hidden_size")),
    ]


def mistral3(outer: Fields, text: Fields) -> list[Weight]:
    """Return the towers of Mistral Small 3.1 and its successors."""
    vision = part_of(outer)
    hidden, merge = vision.count("hidden_size", default=1024), outer.count("spatial_merge_size", default=2)
    return [
        *_tower(outer),
        *norm("multi_modal_projector.norm", hidden, bias=False),
        *matrix("multi_modal_projector.patch_merger.merging_layer", hidden, hidden * merge**2, bias=False),
        *_projector(outer, text),
    ]


def smolvlm(outer: Fields, text: Fields) -> list[Weight]:
    """Return the towers of Idefics3 and SmolVLM."""
    vision = part_of(outer)
    width = vision.count("hidden_size", default=1152) * outer.count("scale_factor", default=2) ** 2
    return [
        *siglip(vision, "model.vision_model"),
        *matrix("model.connector.modality_projection.proj", text.count("hidden_size"), width, bias=False),
    ]


def cohere2_vision(outer: Fields, text: Fields) -> list[Weight]:
    """Return the towers of Command A Vision, whose projector is a gated MLP."""
    vision, at = part_of(outer), "multi_modal_projector."
    wide = vision.count("hidden_size", default=768) * outer.count("downsample_factor", default=2) ** 2
    inner = outer.count("alignment_intermediate_size", default=36864) // 2
    return [
        *siglip(vision, "vision_tower.vision_model"),
        *matrix(f"{at}linear_1", inner, wide, by="rows", count=2),
        *matrix(f"{at}linear_2", text.count("hidden_size"), inner, by="columns"),
    ]


def minicpmv(outer: Fields, text: Fields) -> list[Weight]:
    """Return the towers of MiniCPM-V from 2.5 on: SigLIP, and queries that attend to its output."""
    vision = part_of(outer)
    seen, hidden = vision.count("hidden_size", default=1152), text.count("hidden_size")
    n_layers = vision.count("num_hidden_layers", default=27) - outer.flag("drop_vision_last_layer")
    return [
        *siglip(vision, "vpm", n_layers=n_layers),
        *vector("resampler.query", outer.count("query_num", default=64) * hidden),
        *(matrix("resampler.kv_proj", hidden, seen, bias=False) if seen != hidden else ()),
        *matrix("resampler.attn.in_proj", 3 * hidden, hidden),
        *matrix("resampler.attn.out_proj", hidden, hidden),
        *norm("resampler.ln", hidden, count=3),
        *matrix("resampler.proj", hidden, hidden, bias=False),
    ]


def phi3_v(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Phi-3.5-vision: CLIP as published, a projection, and a second table of tokens."""
    processor = part_of(outer, "img_processor")
    wanted, wide = processor.get("layer_idx"), 4 * processor.count("image_dim_out", default=1024)
    wanted = wanted if isinstance(wanted, int) and -25 < wanted < 24 else -2
    shape = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "image_size": 336}
    vision = Fields(outer.path, shape | {"patch_size": 14}, outer, "clip_vision_model")
    at, hidden = "vision_embed_tokens.", text.count("hidden_size")
    return [
        *clip(vision, f"{at}img_processor", n_layers=wanted + (25 if wanted < 0 else 1), post_norm=False),
        *vector(f"{at}GN", wide, count=2),
        *matrix(f"{at}img_projection.0", hidden, wide),
        *matrix(f"{at}img_projection.2", hidden, hidden),
        *matrix("embed_tokens", -(-text.count("vocab_size") // 64) * 64, hidden, by="rows", bias=False),
    ]


def _tower(outer: Fields) -> list[Weight]:
    vision, at = part_of(outer), "vision_tower"
    n_layers = _up_to(outer, vision)
    if vision.model_type == "pixtral":
        return pixtral(vision, at, n_layers=n_layers)
    if vision.model_type == "clip_vision_model":
        return clip(vision, f"{at}.vision_model", n_layers=n_layers, post_norm=False)
    if vision.model_type == "siglip_vision_model":
        return siglip(vision, f"{at}.vision_model", n_layers=n_layers, post_norm=False)
    raise Unread(f"{outer.path}: the tower {vision.model_type!r} is not known")


def _up_to(outer: Fields, vision: Fields) -> int:
    """Return the number of layers up to the deepest one that supplies features."""
    n_layers = vision.count("num_hidden_layers")
    wanted = outer.get("vision_feature_layer")
    indices = [index for index in (wanted if isinstance(wanted, list) else [wanted]) if isinstance(index, int)]
    deepest = max((index + n_layers + 1 if index < 0 else index for index in indices), default=n_layers)
    if not 0 <= deepest <= n_layers:
        raise outer.error("vision_feature_layer", wanted, f"a layer of the {n_layers} that there are")
    return deepest


def _projector(outer: Fields, text: Fields, *, divided: bool = True) -> list[Weight]:
    wanted = outer.get("vision_feature_layer")
    width = part_of(outer).count("hidden_size") * (len(wanted) if isinstance(wanted, list) else 1)
    hidden, bias = text.count("hidden_size"), outer.flag("multimodal_projector_bias", default=True)
    first: By = "rows" if divided else None
    second: By = "columns" if divided else None
    return [
        *matrix("multi_modal_projector.linear_1", hidden, width, by=first, bias=bias),
        *matrix("multi_modal_projector.linear_2", hidden, hidden, by=second, bias=bias),
    ]
