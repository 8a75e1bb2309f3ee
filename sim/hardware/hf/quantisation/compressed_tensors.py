"""compressed-tensors: groups of modules, each with a scheme that follows from the arguments for weights and inputs
(`compressed_tensors.py`, `compressed_tensors_moe.py` and the `QuantizationArgs` of compressed-tensors 0.17).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

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
from continuum_sim.hardware.hf.quantisation.modules import Listed, Module, ModuleKind, all_or_none
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored

_WITH_ACTIVATIONS: Final = ("naive-quantized", "int-quantized", "float-quantized", "nvfp4-pack-quantized")

_PACKED: Final = "pack-quantized"

_CLASSES: Final[Mapping[ModuleKind, str]] = {
    "linear": "parallellinear",
    "experts": "routedexperts",
    "head": "parallellmhead",
    "table": "vocabparallelembedding",
}
"""vLLM's class names of modules, for targets such as `Linear`."""


@dataclass(frozen=True)
class _Args:
    """How numbers are quantised, with the defaults of `QuantizationArgs`."""

    bits: int
    kind: str
    symmetric: bool
    strategy: str
    group: int
    block: tuple[int, int] | None
    dynamic: bool
    scale_dtype: str

    def is_group(self, kind: str, bits: int, size: int, strategy: str = "group") -> bool:
        given = (self.kind, self.bits, self.group, self.strategy)
        return given == (kind, bits, size, strategy) and self.symmetric


@dataclass(frozen=True)
class _Scheme:
    weights: _Args
    inputs: _Args | None
    outputs: _Args | None
    format: str


def compressed_tensors(settings: Settings) -> Rule:
    """Use the scheme of the group that targets a module, by its name or its class."""
    if settings.mapping("sparsity_config").get("targets"):
        raise settings.refuse(
            "Sparsity support has been removed from compressed-tensors. "
            "Please use a model without sparsity configuration."
        )
    where = str(settings.path)
    ignored = Listed(settings.names("ignore"), where=where)
    targets = [(Listed([name], where=where), name, scheme) for name, scheme in _targets(settings).items()]

    def by_name(name: str) -> _Scheme | None:
        return next((scheme for listed, _, scheme in targets if listed.by_pattern(name)), None)

    def scheme_of(module: Module) -> _Scheme | None:
        if (found := by_name(module.name)) is not None:
            return found
        if module.is_fused and all(parts := [by_name(shard) for shard in module.shards]):
            return parts[0]
        cls = _CLASSES[module.kind]
        by_class = [scheme for _, name, scheme in targets if name.lower() in cls]
        if not by_class and module.kind == "experts":
            by_class = [scheme for _, name, scheme in targets if name == "Linear"]
        return by_class[0] if by_class else None

    def rule(module: Module) -> Stored | None:
        if module.tower and ignored.names_tower(module.tower):
            return None
        if module.kind != "experts":
            skipped = ignored.by_pattern(module.name) or all_or_none(
                module, [ignored.by_pattern(shard) for shard in module.shards], where
            )
            found = None if skipped else scheme_of(module)
        else:
            # vLLM asks about the projections of the first expert.
            each = [
                None if ignored.by_pattern(shard) else by_name(shard) or scheme_of(module) for shard in module.shards
            ]
            if len(set(each)) > 1:
                raise settings.refuse(
                    f"All MoE projections need to have same quantization scheme but found multiple ({module.name})"
                )
            found = each[0]
        if found is None:
            return None
        if module.kind == "table" and not (found.weights.kind == "int" and _is_weight_only(found)):
            raise settings.refuse(
                "compressed-tensors embeddings only support weight-only INT group/channel (WNA16) quantization"
            )
        stored = _of_experts(found) if module.kind == "experts" else _of_linear(found)
        if stored is None:
            raise settings.refuse(
                f"No compressed-tensors compatible scheme was found for {module.name}: {_told(found)}"
            )
        return stored

    return rule


def _targets(settings: Settings) -> dict[str, _Scheme]:
    found: dict[str, _Scheme] = {}
    for name, raw in settings.mapping("config_groups").items():
        group = settings.within(f"config_groups.{name}", raw)
        targets = group.names("targets")
        if len(targets) == 1 and targets[0].endswith("Attention"):
            continue  # quantises queries, keys and values: belongs to the KV cache
        weights = _args(group.within("weights", group.raw.get("weights")))
        form = str(group.get("format") or settings.get("format") or "")
        inputs, outputs = (_optional(group, key) for key in ("input_activations", "output_activations"))
        if form in _WITH_ACTIVATIONS and inputs is None and weights.kind != "float":
            raise group.refuse("integer weights in a format with activations need input_activations")
        found |= dict.fromkeys(targets, _Scheme(weights, inputs, outputs, form))
    return found


def _optional(group: Settings, name: str) -> _Args | None:
    raw = group.raw.get(name)
    return _args(group.within(name, raw)) if raw else None


def _args(given: Settings) -> _Args:
    group = given.count("group_size") if given.raw.get("group_size") is not None else 0
    strategy = given.get("strategy") or {0: "tensor", -1: "channel"}.get(group, "group")
    if strategy in ("group", "tensor_group") and group < 1:
        raise given.refuse(f"strategy {strategy} requires group_size to be set to a positive value")
    if given.get("actorder") in (True, "group", "dynamic"):
        raise given.refuse(
            f"Compressed-tensors group/dynamic activation ordering (actorder={given.get('actorder')!r}) is no longer "
            "supported. Use a checkpoint with static/weight activation ordering or without activation ordering."
        )
    return _Args(
        bits=given.count("num_bits", default=8),
        kind=str(given.get("type") or "int").lower(),
        symmetric=given.flag("symmetric", default=True),
        strategy=str(strategy).lower(),
        group=group,
        block=_block(given),
        dynamic=bool(given.get("dynamic")),
        scale_dtype=str(given.get("scale_dtype") or ""),
    )


def _block(given: Settings) -> tuple[int, int] | None:
    value = given.get("block_structure")
    if isinstance(value, str):
        value = [int(size) if size.isdecimal() else 0 for size in value.split("x")]
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(size, int) and size > 0 for size in value):
        raise given.error("block_structure", value, "two positive whole numbers")
    return value[0], value[1]


def _of_linear(scheme: _Scheme) -> Stored | None:
    weights, inputs = scheme.weights, scheme.inputs
    if (block := _of_small_groups(scheme)) is not None:
        return block
    if _is_int4_by_fp8(scheme):
        return packed(4, weights.group, zeros=False, computed="fp8")
    if _is_int(weights) and inputs is not None and _is_static_int8(inputs) and _is_static_int8(scheme.outputs):
        if scheme.format == "int-quantized":
            return packed(8, weights.group, zeros=False)
        if scheme.format == _PACKED:
            return packed(weights.bits, weights.group, zeros=False)
    if scheme.format == _PACKED and _is_int(weights):
        by_integers = (
            inputs is not None
            and inputs.kind == "int"
            and inputs.symmetric
            and inputs.dynamic
            and inputs.strategy in ("token", "group")
            and inputs.bits in (4, 8)
        )
        if by_integers or _is_weight_only(scheme):
            return packed(weights.bits, weights.group, zeros=not weights.symmetric) if weights.bits <= 8 else None
    if scheme.format not in _WITH_ACTIVATIONS:
        return None
    return _of_fp8(scheme) or _of_int8(scheme) or _of_int4_in_bytes(scheme)


def _of_experts(scheme: _Scheme) -> Stored | None:
    weights = scheme.weights
    if (block := _of_small_groups(scheme)) is not None:
        return block
    if _is_weight_only(scheme):
        is_packed = scheme.format == _PACKED and 2 <= weights.bits <= 8
        return packed(weights.bits, weights.group, zeros=not weights.symmetric) if is_packed else None
    if scheme.inputs is None:
        return None
    if (fp8 := _of_fp8(scheme)) is not None:
        return fp8
    if scheme.inputs.dynamic and (int8 := _of_int8(scheme)) is not None:
        return int8
    if _is_int4_by_fp8(scheme):
        return packed(4, weights.group, zeros=False, computed="fp8")
    return _of_int4_in_bytes(scheme)


def _of_small_groups(scheme: _Scheme) -> Stored | None:
    weights, inputs = scheme.weights, scheme.inputs
    if weights.is_group("float", 4, 16, "tensor_group"):
        if inputs is None:
            return nvfp4(scales=1, computed="bf16")
        return nvfp4() if inputs.is_group("float", 4, 16, "tensor_group") else None
    if weights.is_group("float", 4, 32):
        return MXFP4
    return MXFP8 if weights.is_group("float", 8, 32) and weights.scale_dtype == "torch.uint8" else None


def _of_fp8(scheme: _Scheme) -> Stored | None:
    weights, inputs = scheme.weights, scheme.inputs
    if weights.kind != "float" or weights.bits != 8 or not weights.symmetric or weights.dynamic:
        return None
    if inputs is not None and inputs.kind != "float":
        return None
    static = inputs is not None and not inputs.dynamic
    stored = None
    if weights.strategy == "block" and weights.block is not None:
        stored = of_blocks(*weights.block)
    elif weights.strategy in ("tensor", "channel"):
        stored = (of_tensor if weights.strategy == "tensor" else of_channels)("fp8", static=static)
    return replace(stored, computed="bf16") if stored is not None and inputs is None else stored


def _of_int8(scheme: _Scheme) -> Stored | None:
    weights, inputs = scheme.weights, scheme.inputs
    if inputs is None or not weights.bits == inputs.bits == 8 or not weights.symmetric or weights.dynamic:
        return None
    if weights.strategy not in ("tensor", "channel"):
        return None
    if inputs.strategy != ("token" if inputs.dynamic else "tensor"):
        return None
    return (of_tensor if weights.strategy == "tensor" else of_channels)("int8", static=not inputs.dynamic)


def _of_int4_in_bytes(scheme: _Scheme) -> Stored | None:
    """4 bits stored in a byte each (`CompressedTensorsW4A8Int`)."""
    weights, inputs = scheme.weights, scheme.inputs
    if inputs is None or (inputs.kind, inputs.bits, inputs.strategy) != ("int", 8, "token") or not inputs.dynamic:
        return None
    return packed(8, weights.group, zeros=False) if _is_int(weights) and weights.bits == 4 else None


def _is_int(args: _Args) -> bool:
    return args.kind == "int" and not args.dynamic and args.strategy in ("channel", "group")


def _is_static_int8(args: _Args | None) -> bool:
    return args is not None and (args.kind, args.bits, args.strategy, args.dynamic) == ("int", 8, "tensor", False)


def _is_weight_only(scheme: _Scheme) -> bool:
    return scheme.inputs is None and scheme.weights.strategy in ("channel", "group") and not scheme.weights.dynamic


def _is_int4_by_fp8(scheme: _Scheme) -> bool:
    """4 bits in groups with FP8 activations, which vLLM serves on Hopper."""
    weights, inputs = scheme.weights, scheme.inputs
    if inputs is None or (inputs.kind, inputs.bits, inputs.strategy) != ("float", 8, "token") or not inputs.dynamic:
        return False
    return (weights.kind, weights.bits, weights.strategy) == ("int", 4, "group") and weights.symmetric


def _told(scheme: _Scheme) -> str:
    def args(each: _Args | None) -> str:
        return f"{each.kind}{each.bits} by {each.strategy}" if each else "none"

    return f"weights {args(scheme.weights)}, input_activations {args(scheme.inputs)}, format {scheme.format!r}"


def kv_scheme(settings: Settings) -> str | None:
    """Return `fp8` if `kv_cache_scheme` requests it, which attention follows by default."""
    raw: Any = settings.raw.get("kv_cache_scheme")
    if raw is None:
        return None
    scheme = settings.within("kv_cache_scheme", raw)
    kind, bits = scheme.get("type"), scheme.get("num_bits")
    if kind != "float" or bits != 8:
        raise scheme.refuse(
            "Currently supported kv cache quantization is num_bits=8, type=float, however received "
            f"num_bits={bits}, type={kind}"
        )
    if scheme.get("strategy") not in ("tensor", "attn_head"):
        raise scheme.refuse(f"Invalid strategy for compressed-tensors KV cache: {scheme.get('strategy')}")
    if not scheme.get("symmetric"):
        raise scheme.refuse("Only support symmetric scaling factor for compressed-tensors KV cache.")
    return "fp8"
