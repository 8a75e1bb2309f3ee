"""Towers of Google's models: Gemma 3 and 4, PaliGemma."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.towers.parts import blocks, matrix, norm, pair, part_of, vector
from continuum_sim.hardware.hf.towers.siglip import siglip
from continuum_sim.hardware.weights import Weight


def gemma3(outer: Fields, text: Fields) -> list[Weight]:
    """Return SigLIP and its projection."""
    vision = part_of(outer)
    width = vision.count("hidden_size", default=768)
    return [
        *siglip(vision, "vision_tower.vision_model"),
        *matrix("multi_modal_projector.mm_input_projection_weight", width, text.count("hidden_size"), bias=False),
        *norm("multi_modal_projector.mm_soft_emb_norm", width, bias=False),
    ]


def paligemma(outer: Fields, text: Fields) -> list[Weight]:
    """Return SigLIP and its projection."""
    vision = part_of(outer)
    width = vision.count("hidden_size", default=768)
    projected = vision.count("projection_dim", default=text.count("hidden_size"))
    return [
        *siglip(vision, "vision_tower.vision_model"),
        *matrix("multi_modal_projector.linear", projected, width),
    ]


def gemma4(outer: Fields, text: Fields) -> list[Weight]:
    """Return the towers for images and, if there is one, for sound; every rank holds all of them."""
    found = _gemma4_vision(part_of(outer), text)
    audio = outer.part("audio_config")
    return found if audio is None else [*found, *_gemma4_audio(audio, text)]


def _gemma4_vision(vision: Fields, text: Fields) -> list[Weight]:
    hidden, heads = vision.count("hidden_size"), vision.count("num_attention_heads")
    n_layers, patch = vision.count("num_hidden_layers"), vision.count("patch_size")
    head_dim = vision.count("head_dim", default=hidden // heads)
    layers, at = range(n_layers), "vision_tower.encoder.layers"
    return [
        *matrix(
            "vision_tower.patch_embedder.positions", 2 * vision.count("position_embedding_size"), hidden, bias=False
        ),
        *matrix("vision_tower.patch_embedder.input_proj", hidden, 3 * patch**2, bias=False),
        *blocks(
            at,
            n_layers,
            hidden,
            vision.count("intermediate_size"),
            heads,
            width=heads * head_dim,
            attention=None,
            mlp=None,
            gated=True,
            bias=vision.flag("attention_bias"),
            norms=4,
            norm_bias=False,
        ),
        *vector(f"{at}.{{}}.qk_norm", head_dim, layers=layers, count=2),
        *matrix("embed_vision.embedding_projection", text.count("hidden_size"), hidden, bias=False),
    ]


def _gemma4_audio(audio: Fields, text: Fields) -> list[Weight]:
    """Return a conformer: two feed-forward parts and a convolution around attention."""
    hidden, heads = audio.count("hidden_size", default=1024), audio.count("num_attention_heads", default=8)
    layers = range(audio.count("num_hidden_layers", default=12))
    first, second = pair(audio, "subsampling_conv_channels", (128, 32))
    out, at = audio.count("output_proj_dims", default=1536), "audio_tower.layers.{}."
    # Both convolutions halve the 128 bands of sound.
    return [
        *matrix("audio_tower.subsample.layer0", first, 9, bias=False),
        *matrix("audio_tower.subsample.layer1", second, first * 9, bias=False),
        *vector("audio_tower.subsample.norm", first + second),
        *matrix("audio_tower.subsample.input_proj_linear", hidden, second * 32, bias=False),
        *matrix(f"{at}feed_forward.up", 4 * hidden, hidden, layers=layers, count=2, bias=False),
        *matrix(f"{at}feed_forward.down", hidden, 4 * hidden, layers=layers, count=2, bias=False),
        *matrix(f"{at}self_attn", hidden, hidden, layers=layers, count=5, bias=False),  # q, k, v, out, relative k
        *vector(f"{at}self_attn.per_dim_scale", hidden // heads, layers=layers),
        *matrix(f"{at}lconv1d.linear_start", 2 * hidden, hidden, layers=layers, bias=False),
        *matrix(f"{at}lconv1d.linear_end", hidden, hidden, layers=layers, bias=False),
        *vector(f"{at}lconv1d.depthwise", hidden * audio.count("conv_kernel_size", default=5), layers=layers),
        *norm(f"{at}norm", hidden, layers=layers, count=9, bias=False),
        *matrix("audio_tower.output_proj", out, hidden),
        *matrix("embed_audio.embedding_projection", text.count("hidden_size"), out, bias=False),
    ]
