"""AMD's Quark: one scheme for all modules, with exceptions by name (`quark/quark.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from continuum_sim.hardware.hf.quantisation.formats import (
    MXFP4,
    MXFP8,
    Rule,
    nvfp4,
    of_blocks,
    of_channels,
    of_tensor,
    packed,
)
from continuum_sim.hardware.hf.quantisation.modules import Listed, Module, all_or_none
from continuum_sim.hardware.hf.quantisation.mxfp4 import filled
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored


def quark(settings: Settings) -> Rule:
    """Use `layer_quant_config` where one of its patterns matches, otherwise `global_quant_config`."""
    if settings.get("export") is None:
        raise settings.refuse("The export key should be included in the configurations of Quark quantized model")
    where, excluded = str(settings.path), Listed(settings.names("exclude"), where=str(settings.path))
    by_name, everywhere = settings.mapping("layer_quant_config"), settings.mapping("global_quant_config")
    if settings.mapping("layer_type_quant_config"):
        raise settings.unread("Quark's layer_type_quant_config is not known")

    def config_of(name: str) -> Mapping[str, Any]:
        for pattern, config in by_name.items():
            if fnmatch(name, pattern) if "*" in pattern else name in pattern:
                return settings.within("layer_quant_config", config).raw
        return everywhere

    def rule(module: Module) -> Stored | None:
        if module.kind not in ("linear", "experts") or _is_excluded(module, excluded, where):
            return None
        configs = [config_of(shard) for shard in module.shards]
        if any(_of_inputs(config) != _of_inputs(configs[0]) for config in configs):
            raise settings.refuse(
                f"Found a different quantization configuration for {module.shards} in {module.name}. "
                "vLLM requires all to use the same scheme."
            )
        return _stored(settings, configs[0], module)

    return rule


def _of_inputs(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings except those of outputs, which concern the cached keys and values."""
    return {name: value for name, value in config.items() if name != "output_tensors"}


def _is_excluded(module: Module, excluded: Listed, where: str) -> bool:
    if module.tower and excluded.names_tower(module.tower):
        return True
    if module.kind == "experts" and any(f"{name}.".startswith(f"{module.name}.") for name in excluded.names):
        return True
    if excluded.by_pattern(module.name):
        return True
    return module.is_fused and all_or_none(module, [excluded.by_pattern(shard) for shard in module.shards], where)


def _stored(settings: Settings, config: Mapping[str, Any], module: Module) -> Stored | None:
    weight, inputs = _single(config.get("weight")), _single(config.get("input_tensors"))
    if weight is None:
        raise settings.refuse(f"No quark compatible scheme was found. Weight config: None ({module.name})")
    static = isinstance(inputs, dict) and not inputs.get("is_dynamic")
    if isinstance(weight, list):
        first = weight[0] if weight and isinstance(weight[0], dict) else {}
        if len(weight) == 2 and (first.get("dtype"), first.get("group_size")) == ("fp4", 16):
            return nvfp4()
        raise settings.unread(f"Quark's weights of {len(weight)} steps are not known ({module.name})")
    if not isinstance(weight, dict):
        raise settings.error("weight", weight, "an object")
    dtype, scheme, group = weight.get("dtype"), weight.get("qscheme"), weight.get("group_size")
    if dtype == "fp8_e4m3" and scheme in ("per_tensor", "per_channel"):
        return (of_tensor if scheme == "per_tensor" else of_channels)("fp8", static=static)
    if dtype == "fp8_e4m3" and scheme == "per_block" and weight.get("block_size") == [128, 128]:
        return of_blocks(128, 128)
    if dtype == "fp8_e4m3" and _is_mx(weight):
        return MXFP8
    if dtype == "int8" and scheme in ("per_tensor", "per_channel"):
        return (of_tensor if scheme == "per_tensor" else of_channels)("int8", static=static)
    if dtype in ("int4", "uint4") and inputs is None and isinstance(group, int) and group > 0:
        return packed(4, group, zeros=True)
    if dtype == "fp4" and _is_mx(weight):
        return filled(MXFP4, module) if module.kind == "experts" else MXFP4
    if dtype in ("fp6_e3m2", "fp6_e2m3") and _is_mx(weight):
        return Stored("mxfp6", 6, scale_bits=8, scale_rows=1, scale_columns=32)
    raise settings.refuse(f"No quark compatible scheme was found. Weight config: {dtype} {scheme} ({module.name})")


def _is_mx(weight: Mapping[str, Any]) -> bool:
    if weight.get("qscheme") == "per_group":
        return (weight.get("group_size"), weight.get("scale_format")) == (32, "e8m0")
    block = weight.get("block_size")
    is_block = isinstance(block, list) and len(block) == 2 and block[1] == 32
    return weight.get("qscheme") == "per_block" and is_block and weight.get("scale_type") == "float8_e8m0fnu"


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value
