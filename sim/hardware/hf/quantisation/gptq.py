"""GPTQ: 4 or 8 bits with a scale and a zero point per group; both are stored even if symmetric (`auto_gptq.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from continuum_sim.hardware.hf.quantisation.formats import Rule, packed
from continuum_sim.hardware.hf.quantisation.modules import Module, all_or_none, one_spelling, pattern_of
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored


def gptq(settings: Settings) -> Rule:
    """Quantise all linear modules, or those in `modules_in_block_to_quantize`, with the exceptions in `dynamic`."""
    dynamic = settings.mapping("dynamic")
    base = {name: settings.need(name) for name in ("bits", "group_size", "desc_act", "sym")}
    stored = _stored(settings, base)
    quantised, head = _quantised(settings), settings.flag("lm_head", default=False)
    exceptions = [
        (text.startswith("-:"), pattern_of(text.removeprefix("-:").removeprefix("+:"), str(settings.path)), its)
        for text, its in dynamic.items()
    ]
    for left_out, _, its in exceptions:
        if not left_out:
            _stored(settings, {**base, **settings.within("dynamic", its).raw})

    def rule(module: Module) -> Stored | None:
        if module.kind == "table" or (module.kind == "head" and not head):
            return None
        if module.kind != "experts" and not _is_quantised(module, quantised, str(settings.path)):
            return None
        for left_out, pattern, its in exceptions:
            if pattern.match(module.name):
                return None if left_out else _stored(settings, {**base, **its})
        return stored

    return rule


def _stored(settings: Settings, values: Mapping[str, Any]) -> Stored:
    given = settings.within("", dict(values))
    bits, group, symmetric = given.count("bits"), given.count("group_size"), given.flag("sym")
    if given.flag("desc_act") and group != -1:
        raise settings.refuse(
            "GPTQ group activation ordering (desc_act=True) is no longer supported. "
            "Use a checkpoint with static activation ordering or desc_act=False."
        )
    if bits not in (4, 8) or not symmetric:
        raise settings.refuse(f"Unsupported quantization config: bits={bits}, sym={symmetric}")
    return packed(bits, group, zeros=True)


def _quantised(settings: Settings) -> list[str]:
    found: list[object] = [settings.raw.get("modules_in_block_to_quantize") or []]
    names: list[str] = []
    while found:
        each = found.pop()
        if isinstance(each, list):
            found += each
        elif isinstance(each, str):
            names.append(one_spelling(each))
        else:
            raise settings.error("modules_in_block_to_quantize", each, "a list of module names")
    return names


def _is_quantised(module: Module, quantised: list[str], where: str) -> bool:
    if not quantised:
        # vLLM then finds what is quantised from the files, and towers are not.
        return not module.tower
    if any(each in module.name for each in quantised):
        return True
    return all_or_none(module, [any(each in shard for each in quantised) for shard in module.shards], where)
