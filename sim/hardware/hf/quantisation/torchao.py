"""torchao, whose bytes follow from its configuration's name (`torchao.py`, and torchao's own layouts)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from continuum_sim.hardware.hf.quantisation.formats import Rule, of_channels
from continuum_sim.hardware.hf.quantisation.modules import Module, one_spelling, pattern_of, spellings
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Computed, Stored

_BYTES: Final[Mapping[str, Computed]] = {
    "Int8WeightOnlyConfig": "int8",
    "Int8DynamicActivationInt8WeightConfig": "int8",
    "Float8WeightOnlyConfig": "fp8",
    "Float8DynamicActivationFloat8WeightConfig": "fp8",
}
"""One byte per element, and one scale per output."""

_BY_MODULE: Final = ("ModuleFqnToConfig", "FqnToConfig")


def torchao(settings: Settings) -> Rule:
    """Use one configuration for all linear modules, or one by name."""
    by_type = settings.mapping("quant_type")
    if list(by_type) != ["default"]:
        raise settings.refuse("Expected only one key 'default' in quant_type dictionary")
    default = settings.within("quant_type.default", by_type["default"])
    skipped = settings.names("modules_to_not_convert")
    data = default.mapping("_data")
    by_name = data.get("module_fqn_to_config") or data.get("fqn_to_config") or {}
    if default.get("_type") in _BY_MODULE:
        by_name = settings.within("module_fqn_to_config", by_name).raw
        skipped = [*skipped, *(name for name, config in by_name.items() if config is None)]
    else:
        by_name = {"_default": default.raw}
        _stored(settings, default.raw)
    skipped = [one_spelling(name) for name in skipped]
    exact: dict[str, Any] = {one_spelling(name): config for name, config in by_name.items()}

    def config_of(name: str) -> Any:
        if name in exact:
            return exact[name]
        for pattern, config in exact.items():
            if pattern.startswith("re:"):
                compiled = pattern_of(pattern, str(settings.path))
                if any(compiled.fullmatch(each) for each in spellings(name)):
                    return config
        return exact.get("_default")

    def rule(module: Module) -> Stored | None:
        if module.kind != "linear" or any(f".{each}." in f".{module.name}." for each in skipped):
            return None
        if module.tower and any(each.startswith(module.tower) for each in skipped):
            return None
        config = config_of(module.name)
        return None if config is None else _stored(settings, config)

    return rule


def _stored(settings: Settings, config: object) -> Stored:
    kind = str(settings.within("quant_type", config).get("_type"))
    if kind not in _BYTES:
        raise settings.unread(f"the bytes of torchao's {kind} depend on torchao and the GPU")
    stored = of_channels(_BYTES[kind])
    return replace(stored, computed="bf16") if "WeightOnly" in kind else stored
