"""Which towers a model type has, and a note about unknown ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from continuum_sim.hardware.hf.architectures import is_text_only
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.towers.gemma import gemma3, gemma4, paligemma
from continuum_sim.hardware.hf.towers.intern import internvl, internvl_chat
from continuum_sim.hardware.hf.towers.llava import (
    cohere2_vision,
    llava,
    llava_onevision,
    minicpmv,
    mistral3,
    phi3_v,
    smolvlm,
)
from continuum_sim.hardware.hf.towers.moon import kimi_k25, kimi_vl
from continuum_sim.hardware.hf.towers.others import ernie_vl, glm4v, llama4
from continuum_sim.hardware.hf.towers.qwen import qwen2_5_omni, qwen2_5_vl, qwen2_audio, qwen2_vl, qwen3_omni, qwen3_vl
from continuum_sim.hardware.hf.unread import Unread
from continuum_sim.hardware.weights import Weight

_TOWERS: Final[Mapping[str, Callable[[Fields, Fields], list[Weight]]]] = {
    "cohere2_vision": cohere2_vision,
    "ernie4_5_moe_vl": ernie_vl,
    "gemma3": gemma3,
    "gemma4": gemma4,
    "glm4v": glm4v,
    "glm4v_moe": glm4v,
    "idefics3": smolvlm,
    "internvl": internvl,
    "internvl_chat": internvl_chat,
    "kimi_k25": kimi_k25,
    "kimi_k3": kimi_k25,
    "kimi_vl": kimi_vl,
    "llama4": llama4,
    "llava": llava,
    "llava_next": llava,
    "llava_onevision": llava_onevision,
    "minicpmv": minicpmv,
    "mistral3": mistral3,
    "paligemma": paligemma,
    "phi3_v": phi3_v,
    "qwen2_5_omni": qwen2_5_omni,
    "qwen2_5_omni_thinker": qwen2_5_omni,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_audio": qwen2_audio,
    "qwen2_vl": qwen2_vl,
    "qwen3_5": qwen3_vl,
    "qwen3_5_moe": qwen3_vl,
    "qwen3_omni_moe": qwen3_omni,
    "qwen3_vl": qwen3_vl,
    "qwen3_vl_moe": qwen3_vl,
    "smolvlm": smolvlm,
}
"""`model_type` of a whole configuration -> function that reads its towers from it and the language model's part."""

_SIGNS: Final = (
    "vision_config",
    "audio_config",
    "vit_config",
    "visual",
    "img_processor",
    "embd_layer",
    "vision_encoder",
    "audio_encoder",
    "audio_encoder_config",
    "speech_config",
    "sound_config",
    "vision_tower_config",
    "encoder_config",
    "mm_vision_tower",
)
"""Fields that only configurations with towers have."""


def tower_weights(outer: Fields) -> tuple[list[Weight], tuple[str, ...]]:
    """Return the weights that play no part in steps of text, and a note about unknown towers.

    Raises
    ------
    ConfigError
        If a field of a tower is malformed.
    Unread
        If layers of the language model attend to images.
    """
    if outer.text().own.get("cross_attention_layers"):
        raise Unread(f"{outer.path}: the layers of {outer.model_type!r} that attend to images are not known")
    if is_text_only(outer):
        return [], ()
    read = _TOWERS.get(outer.model_type)
    if read is None:
        return [], _note(outer, any(outer.own.get(name) for name in _SIGNS))
    try:
        return read(outer, outer.text()), ()
    except Unread:
        return [], _note(outer, True)


def _note(outer: Fields, has_towers: bool) -> tuple[str, ...]:
    if not has_towers:
        return ()
    return (
        f"the towers of {outer.model_type!r} for images or sound are not counted: its weights take more than is said",
    )
