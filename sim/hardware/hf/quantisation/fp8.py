"""FP8 as published by DeepSeek, Qwen and MiniMax (`fp8.py`, `fbgemm_fp8.py` and DeepSeek V4's `quant_config.py`)."""

from __future__ import annotations

from continuum_sim.hardware.hf.quantisation.formats import MXFP4, Rule, of_blocks, of_tensor
from continuum_sim.hardware.hf.quantisation.modules import Listed, Module, is_skipped
from continuum_sim.hardware.hf.quantisation.mxfp4 import filled
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored


def fp8(settings: Settings) -> Rule:
    """FP8 with one scale per tensor, or per block (`weight_block_size`)."""
    stored, skipped = _stored(settings), _ignored(settings)
    store_dtype = settings.get("store_dtype")

    def rule(module: Module) -> Stored | None:
        if module.kind not in ("linear", "experts") or is_skipped(module, skipped, where=str(settings.path)):
            return None
        if module.kind == "experts" and store_dtype == "mxfp4":
            return filled(MXFP4, module)
        return stored

    return rule


def deepseek_v4_fp8(settings: Settings) -> Rule:
    """FP8 in blocks with 8-bit scales, and experts in MXFP4 unless `expert_dtype` is fp8."""
    expert_dtype = settings.expert_dtype or "fp4"
    if expert_dtype not in ("fp4", "fp8"):
        raise settings.refuse(f"Unsupported DeepSeek V4 expert_dtype={expert_dtype!r}; expected one of ('fp4', 'fp8').")
    if settings.get("moe_quant_algo"):
        raise settings.unread(f"DeepSeek V4 with experts in {settings.get('moe_quant_algo')} is not known")
    stored = _stored(settings, scale_bits=8 if expert_dtype == "fp4" else 32)
    skipped = _ignored(settings)

    def rule(module: Module) -> Stored | None:
        if module.kind not in ("linear", "experts") or is_skipped(module, skipped, where=str(settings.path)):
            return None
        return filled(MXFP4, module) if module.kind == "experts" and expert_dtype == "fp4" else stored

    return rule


def _stored(settings: Settings, scale_bits: int = 32) -> Stored:
    scheme, block = settings.need("activation_scheme"), settings.get("weight_block_size")
    if scheme not in ("static", "dynamic"):
        raise settings.refuse(f"Unsupported activation scheme {scheme}")
    if block is None:
        return of_tensor("fp8", static=scheme == "static")
    if not isinstance(block, list) or not all(isinstance(size, int) and 0 < size < 2**31 for size in block):
        raise settings.error("weight_block_size", block, "two positive whole numbers")
    if len(block) != 2:
        raise settings.refuse(
            f"The quantization block size of weight must have 2 dimensions, but got {len(block)} dimensions"
        )
    if scheme != "dynamic":
        raise settings.refuse(
            "The block-wise quantization only supports dynamic activation scheme for now, but got "
            f"{scheme} activation scheme."
        )
    return of_blocks(*block, scale_bits=scale_bits)


def _ignored(settings: Settings) -> Listed:
    return Listed(settings.names("ignored_layers", "modules_to_not_convert"), where=str(settings.path))
