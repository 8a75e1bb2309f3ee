"""NVIDIA's ModelOpt: FP8, NVFP4, MXFP8, or one of them per module (`modelopt.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from continuum_sim.hardware.hf.quantisation.formats import (
    MXFP8,
    Rule,
    nvfp4,
    of_blocks,
    of_channels,
    of_tensor,
)
from continuum_sim.hardware.hf.quantisation.modules import Listed, Module, is_skipped, one_spelling
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored
from continuum_sim.readers import read_json

_OF: Final = {
    "FP8": "modelopt",
    "FP8_PER_CHANNEL_PER_TOKEN": "modelopt",
    "FP8_PB_WO": "modelopt",
    "NVFP4": "modelopt_fp4",
    "W4A16_NVFP4": "modelopt_fp4",
    "MXFP8": "modelopt_mxfp8",
}
"""`quant_algo` -> the method that handles it."""

_MIXED: Final = "MIXED_PRECISION"
_KV: Final = ("kv_cache_scheme", "kv_cache_quant_algo")
_NEEDED: Final = {
    "NVFP4": ("group_size", "kv_cache_quant_algo", "exclude_modules"),
    "MXFP8": ("kv_cache_quant_algo", "exclude_modules"),
}
"""Fields that vLLM requires in ModelOpt's own file."""
_BLOCK_FP8: Final = ("FP8_PB_WO", "FP8_BLOCK_SCALES")
_TOWERS: Final = ("vision_tower", "vision_model", "vit_large_projector")
"""Parts of names that vLLM never quantises with ModelOpt."""


def method_of(settings: Settings) -> str:
    """Return the method for a checkpoint's `quant_algo`, whichever ModelOpt method it names."""
    algorithm = str(_inner(settings).get("quant_algo", default="")).upper()
    if settings.method == "modelopt" or settings.method.startswith("modelopt_"):
        if algorithm == "FP8":
            return "modelopt"
        if "FP4" in algorithm:
            return "modelopt_fp4"
        if "MXFP8" in algorithm:
            return "modelopt_mxfp8"
        if algorithm == _MIXED:
            return "modelopt_mixed"
    return settings.method


def modelopt(settings: Settings) -> Rule:
    """Use one algorithm for all modules that are not excluded."""
    is_bare = "quantization" not in settings.raw and not settings.get("quant_algo")
    if is_bare and settings.method in ("mxfp8", "modelopt_mxfp8"):  # MiniMax writes it like this
        return _everywhere(settings, "MXFP8", settings, settings.names("ignored_layers"))
    inner = _inner(settings)
    algorithm = _algorithm(inner)
    method = method_of(settings)
    if algorithm == _MIXED or _OF[algorithm] != ("modelopt_mxfp8" if method == "mxfp8" else method):
        raise settings.refuse(f"Unsupported ModelOpt quant_algo for {method}: {algorithm}.")
    for family, names in _NEEDED.items():
        missing = [name for name in names if name not in inner.raw]
        if missing and family in algorithm and "quantization" in settings.raw:
            raise settings.refuse(
                f"{family} quantization requires the following fields in hf_quant_config.json: {missing}"
            )
    return _everywhere(settings, algorithm, inner, _excluded(settings))


def modelopt_mixed(settings: Settings) -> Rule:
    """Use the algorithm that `quantized_layers` gives for each module, none for the others."""
    if "quantized_layers" not in settings.raw and "quantization" not in settings.raw:
        beside = settings.path.with_name("hf_quant_config.json")
        if not beside.is_file():
            raise settings.refuse("Cannot find the config file for modelopt_mixed")
        settings = Settings(beside, "", {}, settings.method, settings.model_type).within(
            "", read_json(beside, finite=False)
        )
    inner = _inner(settings)
    layers = {one_spelling(name): inner.within("quantized_layers", its) for name, its in _layers(inner).items()}
    if not layers:
        raise settings.refuse(
            "MIXED_PRECISION quant_algo requires a non-empty 'quantized_layers' mapping in the quantization config."
        )
    group = inner.count("group_size", default=next((_group(its) for its in layers.values() if _is_fp4(its)), 16))
    excluded, where = Listed(_both(_excluded(settings)), where=str(settings.path)), str(settings.path)
    parents = _parents(layers)

    def rule(module: Module) -> Stored | None:
        if module.kind == "table" or _is_excluded(module, excluded, where):
            return None
        algorithm = _algorithm_of(module, layers, parents, settings)
        if algorithm is None:
            return None
        if module.kind == "experts" and algorithm in _BLOCK_FP8:
            size = next(_group(its, 128) for its in layers.values() if _name(its) in _BLOCK_FP8)
            return of_blocks(size, size)
        if algorithm not in _OF:
            raise settings.unread(f"ModelOpt's {algorithm} of {module.name} is not known")
        return _stored(algorithm, group, module)

    return rule


def _everywhere(settings: Settings, algorithm: str, inner: Settings, excluded: list[str]) -> Rule:
    listed, where = Listed(_both(excluded), where=str(settings.path)), str(settings.path)
    group = inner.count("group_size", default=16) if inner.get("group_size") is not None else 16

    def rule(module: Module) -> Stored | None:
        if module.kind == "table" or _is_excluded(module, listed, where):
            return None
        if any(tower in module.name for tower in _TOWERS):
            return None
        return _stored(algorithm, group, module)

    return rule


def _stored(algorithm: str, group: int, module: Module) -> Stored:
    if module.kind == "experts" and algorithm.startswith("FP8"):
        return of_tensor("fp8", static=True)
    if algorithm == "FP8":
        return of_tensor("fp8", static=True)
    if algorithm == "FP8_PER_CHANNEL_PER_TOKEN":
        return of_channels("fp8")
    if algorithm == "FP8_PB_WO":
        return of_blocks(128, 128)
    if algorithm == "MXFP8":
        return MXFP8
    return nvfp4(group=group, computed="bf16" if algorithm == "W4A16_NVFP4" else "fp4")


def _inner(settings: Settings) -> Settings:
    if "quantization" in settings.raw:
        return settings.within("quantization", settings.raw["quantization"])
    return settings


def _algorithm(inner: Settings) -> str:
    given = inner.get("quant_algo")
    if not given:
        raise inner.refuse("Missing 'quant_algo' in quantization config")
    algorithm = str(given).upper()
    if algorithm not in _OF and algorithm != _MIXED:
        raise inner.refuse(f"ModelOpt currently only supports: {[*_OF, _MIXED]} quantizations in vLLM.")
    return algorithm


def _excluded(settings: Settings) -> list[str]:
    if "quantization" in settings.raw:
        return _inner(settings).names("exclude_modules")
    return settings.names("ignore")


def _both(excluded: list[str]) -> list[str]:
    """Expand `module*`, which stands for the module and what is inside it."""
    found: list[str] = []
    for each in excluded:
        is_root = len(each) >= 2 and each[-1] == "*" and each[-2] != "."
        found += [each[:-1], f"{each[:-1]}.*"] if is_root else [each]
    return found


def _is_excluded(module: Module, excluded: Listed, where: str) -> bool:
    return is_skipped(module, excluded, where=where) or excluded.partly(module.name) or excluded.wildly(module.name)


def _layers(inner: Settings) -> Mapping[str, Any]:
    return inner.mapping("quantized_layers")


def _name(its: Settings) -> str:
    return str(its.need("quant_algo")).upper()


def _group(its: Settings, default: int = 16) -> int:
    return its.count("group_size", default=default)


def _is_fp4(its: Settings) -> bool:
    return _name(its) in ("NVFP4", "W4A16_NVFP4")


def _parents(layers: Mapping[str, Settings]) -> dict[str, str]:
    """Return every module that contains a listed one -> the algorithm of the first that it contains."""
    found: dict[str, str] = {}
    for name, its in layers.items():
        parent = name
        while parent := parent.rpartition(".")[0]:
            found.setdefault(parent, _name(its))
    return found


def _algorithm_of(
    module: Module, layers: Mapping[str, Settings], parents: Mapping[str, str], settings: Settings
) -> str | None:
    if module.name in layers:
        return _name(layers[module.name])
    if module.is_fused:
        found = {_name(layers[shard]) for shard in module.shards if shard in layers}
        if len(found) > 1:
            raise settings.refuse(
                f"Mixed quant_algo within fused layer {module.name}: {sorted(found)}. "
                "All shards must use the same quantization."
            )
        if found:
            return found.pop()
    if module.name in parents:
        return parents[module.name]
    # Some checkpoints list the projections of experts without `experts`.
    return parents.get(module.name.removesuffix(".experts")) if module.name.endswith(".experts") else None


def kv_scheme(settings: Settings) -> str | None:
    """Return the KV cache type requested by the checkpoint (`get_kv_cache_quant_algo_string`)."""
    if settings.name.startswith("text_config"):
        return None  # vLLM does not read it then
    inner = _inner(settings)
    sources = (inner, settings)
    asked = next((one.get(name) for name in _KV for one in sources if one.get(name)), None)
    if isinstance(asked, dict):
        if asked.get("dynamic") is False and asked.get("num_bits") == 8 and asked.get("type") == "float":
            return "fp8"
        return "nvfp4" if asked.get("num_bits") == 4 and asked.get("type") == "float" else None
    if isinstance(asked, str) and asked.lower() in ("fp8", "nvfp4"):
        return asked.lower()
    return None
