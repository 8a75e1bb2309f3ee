"""Towers of Qwen's models: 2-VL, 2.5-VL, 3-VL and 3.5 for images, 2.5-Omni and 3-Omni for sound."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.towers.parts import blocks, matrix, norm, part_of, patches
from continuum_sim.hardware.weights import Weight


def qwen2_vl(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Qwen2-VL; its `hidden_size` is the language model's."""
    vision = part_of(outer)
    hidden = vision.count("embed_dim", default=1280)
    ratio, out = vision.count("mlp_ratio", default=4), vision.count("hidden_size", default=text.count("hidden_size"))
    return [
        *patches(vision, "visual.patch_embed.proj", hidden, bias=False, times=_frames(vision)),
        *blocks("visual.blocks", _depth(vision), hidden, ratio * hidden, _heads(vision)),
        *norm("visual.merger.ln_q", hidden),
        *_merger("visual.merger.mlp", hidden * _merged(vision), out),
    ]


def qwen2_5_vl(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Qwen2.5-VL."""
    vision = part_of(outer)
    hidden = vision.count("hidden_size", default=1280)
    return [
        *patches(vision, "visual.patch_embed.proj", hidden, bias=False, times=_frames(vision)),
        *blocks(
            "visual.blocks",
            _depth(vision),
            hidden,
            vision.count("intermediate_size", default=3420),
            _heads(vision),
            gated=True,
            norm_bias=False,
        ),
        *norm("visual.merger.ln_q", hidden, bias=False),
        *_merger("visual.merger.mlp", hidden * _merged(vision), _out(vision, text)),
    ]


def qwen3_vl(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Qwen3-VL and Qwen3.5, with a merger for each layer whose output is passed on (deepstack)."""
    vision = part_of(outer)
    hidden, out = vision.count("hidden_size", default=1152), _out(vision, text)
    wide = hidden * _merged(vision)
    deep = len(vision.each("deepstack_visual_indexes") or [])
    return [
        *patches(vision, "visual.patch_embed.proj", hidden, times=_frames(vision), patch=16),
        *matrix("visual.pos_embed", vision.count("num_position_embeddings", default=2304), hidden, bias=False),
        *blocks(
            "visual.blocks", _depth(vision), hidden, vision.count("intermediate_size", default=4304), _heads(vision)
        ),
        *norm("visual.merger.norm", hidden),
        *_merger("visual.merger", wide, out),
        *norm("visual.deepstack_merger_list.norm", wide, count=deep),
        *(_merger("visual.deepstack_merger_list", wide, out, count=deep) if deep else ()),
    ]


def qwen2_audio(outer: Fields, text: Fields) -> list[Weight]:
    """Return the tower of Qwen2-Audio."""
    audio = part_of(outer, "audio_config")
    hidden, _ = _audio_shape(audio)
    return [
        *_whisper(audio),
        *matrix("audio_tower.embed_positions", audio.count("max_source_positions", default=1500), hidden, bias=False),
        *matrix("multi_modal_projector.linear", text.count("hidden_size"), hidden),
    ]


def qwen2_5_omni(outer: Fields, text: Fields) -> list[Weight]:
    """Return the thinker's towers, the ones that vLLM loads."""
    thinker = _thinker(outer)
    audio = part_of(thinker, "audio_config")
    hidden, _ = _audio_shape(audio)
    out = audio.count("output_dim", default=3584)
    return [
        *_whisper(audio),
        *matrix("audio_tower.audio_bos_eos_token", 2, out, bias=False),
        *matrix("audio_tower.proj", out, hidden),
        *qwen2_5_vl(thinker, text),
    ]


def qwen3_omni(outer: Fields, text: Fields) -> list[Weight]:
    """Return the thinker's towers, the ones that vLLM loads."""
    thinker = _thinker(outer)
    audio = part_of(thinker, "audio_config")
    hidden, layers = _audio_shape(audio)
    bands, out = audio.count("num_mel_bins", default=128), audio.count("output_dim", default=2048)
    wide, inner = audio.count("downsample_hidden_size", default=480), audio.count("encoder_ffn_dim", default=5120)
    for _ in range(3):  # each convolution halves the bands of sound
        bands = (bands + 1) // 2
    return [
        *matrix("audio_tower.conv2d1", wide, 9),
        *matrix("audio_tower.conv2d", wide, 9 * wide, count=2),
        *matrix("audio_tower.conv_out", hidden, wide * bands, bias=False),
        *blocks(
            "audio_tower.layers",
            len(layers),
            hidden,
            inner,
            audio.count("encoder_attention_heads", default=20),
            evenly=True,
        ),
        *norm("audio_tower.ln_post", hidden),
        *matrix("audio_tower.proj1", hidden, hidden),
        *matrix("audio_tower.proj2", out, hidden),
        *qwen3_vl(thinker, text),
    ]


def _whisper(audio: Fields) -> list[Weight]:
    """Return Whisper's encoder, which every rank holds whole."""
    hidden, layers = _audio_shape(audio)
    inner, at = audio.count("encoder_ffn_dim", default=5120), "audio_tower.layers.{}."
    return [
        *matrix("audio_tower.conv1", hidden, 3 * audio.count("num_mel_bins", default=128)),
        *matrix("audio_tower.conv2", hidden, 3 * hidden),
        *matrix(f"{at}self_attn.qvo", hidden, hidden, layers=layers, count=3),
        *matrix(f"{at}self_attn.k_proj", hidden, hidden, layers=layers, bias=False),
        *matrix(f"{at}fc1", inner, hidden, layers=layers),
        *matrix(f"{at}fc2", hidden, inner, layers=layers),
        *norm(f"{at}norm", hidden, layers=layers, count=2),
        *norm("audio_tower.ln_post", hidden),
    ]


def _merger(at: str, wide: int, out: int, *, count: int = 1) -> list[Weight]:
    return [
        *matrix(f"{at}.linear_fc1", wide, wide, by="rows", count=count),
        *matrix(f"{at}.linear_fc2", out, wide, by="columns", count=count),
    ]


def _thinker(outer: Fields) -> Fields:
    return outer.part("thinker_config") or outer


def _audio_shape(audio: Fields) -> tuple[int, range]:
    return audio.count("d_model", default=1280), range(audio.count("encoder_layers", "num_hidden_layers", default=32))


def _depth(vision: Fields) -> int:
    return vision.count("depth", default=32)


def _heads(vision: Fields) -> int:
    return vision.count("num_heads", default=16)


def _frames(vision: Fields) -> int:
    return vision.count("temporal_patch_size", default=2)


def _merged(vision: Fields) -> int:
    return vision.count("spatial_merge_size", default=2) ** 2


def _out(vision: Fields, text: Fields) -> int:
    return vision.count("out_hidden_size", default=text.count("hidden_size"))
