"""How weights are stored: `quantization_config`, its older spellings, and the file that ModelOpt writes beside it.

One file per method. Which method applies to a checkpoint, and which modules it skips, is as in vLLM 0.32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.quantisation import compressed_tensors as ct
from continuum_sim.hardware.hf.quantisation import modelopt as mo
from continuum_sim.hardware.hf.quantisation.auto_round import auto_round
from continuum_sim.hardware.hf.quantisation.awq import awq
from continuum_sim.hardware.hf.quantisation.formats import Rule
from continuum_sim.hardware.hf.quantisation.fp8 import deepseek_v4_fp8, fp8
from continuum_sim.hardware.hf.quantisation.gptq import gptq
from continuum_sim.hardware.hf.quantisation.modules import modules_of, split_of
from continuum_sim.hardware.hf.quantisation.mxfp4 import mxfp4
from continuum_sim.hardware.hf.quantisation.quark import quark
from continuum_sim.hardware.hf.quantisation.settings import Settings, find_settings
from continuum_sim.hardware.hf.quantisation.torchao import torchao
from continuum_sim.hardware.weights import Stored, Weight

__all__ = ["Quantised", "quantised"]


@dataclass(frozen=True)
class Quantised:
    """Weights as they are stored."""

    weights: tuple[Weight, ...]
    name: str | None = None
    """vLLM's name of the method."""
    kv_scheme: str | None = None
    """KV cache type requested by the configuration."""
    notes: tuple[str, ...] = ()
    """Surprising things that vLLM does with the weights, one per line."""


METHODS: Final[Mapping[str, Callable[[Settings], Rule]]] = {
    "auto_awq": awq,
    "auto_gptq": gptq,
    "compressed-tensors": ct.compressed_tensors,
    "deepseek_v4_fp8": deepseek_v4_fp8,
    "fp8": fp8,
    "gpt_oss_mxfp4": mxfp4,
    "inc": auto_round,
    "modelopt": mo.modelopt,
    "modelopt_fp4": mo.modelopt,
    "modelopt_mixed": mo.modelopt_mixed,
    "modelopt_mxfp8": mo.modelopt,
    "mxfp4": mxfp4,
    "mxfp8": mo.modelopt,
    "quark": quark,
    "torchao": torchao,
}
"""vLLM's name of a method -> function that reads its settings."""

_CALLED: Final = {
    "auto-round": "inc",
    "awq": "auto_awq",
    "awq_marlin": "auto_awq",
    "gptq": "auto_gptq",
    "gptq_marlin": "auto_gptq",
}
"""`quant_method` of checkpoints -> the method that vLLM uses for it on a GPU."""

_DEPRECATED: Final = ("fbgemm_fp8", "fp_quant")
"""Served only with `--allow-deprecated-quantization` (`DEPRECATED_QUANTIZATION_METHODS`)."""

_TOWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "gemma4": ("compressed-tensors", "torchao"),  # 4,304 wide, which other methods' kernels do not take
    "kimi_k25": (),
    "kimi_vl": (),
    "llama4": (),
    "pixtral": (),
    "step3_vl": (),
}
"""Types whose classes apply only some methods to their towers -> those methods."""

_OTHERS: Final = ("experts_int8", "humming", "moe_wna16", "online")
"""Methods of vLLM that no checkpoint names, or whose bytes do not follow from the settings."""


def quantised(outer: Fields, weights: Sequence[Weight]) -> Quantised:
    """Return the weights, stored as the configuration says.

    Raises
    ------
    ConfigError
        If it is malformed, or vLLM refuses it.
    Unread
        For an unknown method.
    """
    settings = find_settings(outer)
    if settings is None:
        return Quantised(tuple(weights))
    if not settings.method:
        note = (
            f"{settings.path}: the quantisation names no quant_method: vLLM 0.32 loads the weights as they are in bf16"
        )
        return Quantised(tuple(weights), notes=(note,))
    name = _name(settings)
    if name in _DEPRECATED:
        raise settings.unread(
            f"the quantization method {name} is deprecated, vLLM 0.32 refuses it without "
            "--allow-deprecated-quantization"
        )
    if name in _OTHERS:
        raise settings.unread(f"the bytes of quantization method {name} are not known")
    if name not in METHODS:
        known = ", ".join(sorted({*METHODS, *_CALLED, *_OTHERS, *_DEPRECATED}))
        raise settings.refuse(f"Unknown quantization method: {name}. Must be one of {known}")
    takes_towers = name in _TOWERS.get(outer.model_type, (name,))
    taken = [weight for weight in weights if takes_towers or weight.use != "tower"]
    stored = _stored(taken, METHODS[name](settings), outer.text().model_type)
    stored += [weight for weight in weights if not takes_towers and weight.use == "tower"]
    return Quantised(tuple(stored), name, _kv_scheme(name, settings, weights), _notes(stored))


def _name(settings: Settings) -> str:
    method = settings.method
    if method.startswith("modelopt"):
        return mo.method_of(settings)
    if method == "fp8" and settings.model_type in ("deepseek_v4", "deepseek_v41"):
        return "deepseek_v4_fp8"
    if method == "mxfp4" and settings.model_type == "gpt_oss":
        return "gpt_oss_mxfp4"
    if settings.model_type == "kimi_k3" and settings.get("format") == "mxfp4-pack-quantized":
        return "mxfp4"
    return _CALLED.get(method, method)


def _stored(weights: Sequence[Weight], rule: Rule, model_type: str) -> list[Weight]:
    found: list[Weight] = []
    for weight, modules in zip(weights, modules_of(weights, model_type), strict=True):
        if not modules:
            found.append(weight)
            continue
        layers: dict[Stored, list[int]] = {}
        for layer, module in modules:
            layers.setdefault(rule(module) or weight.stored, []).extend(() if layer is None else (layer,))
        found += [
            replace(weight, layers=tuple(at), stored=stored, split=split_of(weight)) for stored, at in layers.items()
        ]
    return found


def _kv_scheme(name: str, settings: Settings, weights: Sequence[Weight]) -> str | None:
    if name.startswith("modelopt"):
        return mo.kv_scheme(settings)
    if name != "compressed-tensors":
        return None
    asked = ct.kv_scheme(settings)
    # Latent attention (MLA) ignores a checkpoint's scheme.
    return None if any(weight.name.endswith("kv_b_proj") for weight in weights) else asked


def _notes(weights: Sequence[Weight]) -> tuple[str, ...]:
    notes = []
    if any(_is_filled(weight) for weight in weights):
        notes.append(
            "MXFP4 experts are filled up to multiples of 128 and 256, as Marlin's and FlashInfer's TRT-LLM kernels "
            "take them; Triton's take less"
        )
    if any(_is_filled_by_marlin(weight) for weight in weights):
        notes.append(
            "Marlin's kernels fill some matrices up to multiples of 64 outputs and 128 inputs, which is not counted"
        )
    return tuple(notes)


def _is_filled(weight: Weight) -> bool:
    return bool(weight.rows % weight.stored.fill_rows or weight.columns % weight.stored.fill_columns)


def _is_filled_by_marlin(weight: Weight) -> bool:
    """Return True if integers do not fit Marlin's tiles (`marlin_padded_nk`): those with scales in the model's type."""
    if not weight.stored.name.startswith("int") or not 0 < weight.stored.scale_bits < 32:
        return False
    rows, columns = weight.rows, weight.columns
    return bool((rows % 64 or columns % 128) and (rows % 128 or columns % 64))
