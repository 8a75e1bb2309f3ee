"""AutoRound, which vLLM calls INC: integers in groups, FP8 in blocks or MX formats (`inc/`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from continuum_sim.hardware.hf.quantisation.formats import MXFP4, MXFP8, Rule, of_blocks, packed
from continuum_sim.hardware.hf.quantisation.modules import Module, one_spelling
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored

_SPECIAL: Final = frozenset("*+?^$()[]{}|\\")


def auto_round(settings: Settings) -> Rule:
    """Modules of the blocks to quantise, with the exceptions of `extra_config`."""
    base = _settings_of(settings)
    _stored(settings, base)
    blocks = settings.get("block_name_to_quantize", "to_quant_block_names") or []
    names = (
        blocks.split(",")
        if isinstance(blocks, str)
        else settings.names("block_name_to_quantize", "to_quant_block_names")
    )
    begins = tuple(one_spelling(each.strip()) for each in names)
    extra = {
        one_spelling(name): settings.within("extra_config", its)
        for name, its in settings.object("extra_config").items()
    }

    def given(name: str, bits: int) -> Mapping[str, Any]:
        found = _explicit(name, extra)
        values = {**base, "bits": bits}
        return {**values, **{key: its for key, its in found.raw.items() if key in base}} if found else values

    def rule(module: Module) -> Stored | None:
        if module.kind == "table":
            return None
        inside = module.name.startswith(begins) if begins else module.kind != "head" and not module.tower
        bits = base["bits"] if inside else 16
        names = [module.name]
        if module.name not in extra and any(_explicit(shard, extra) for shard in module.shards):
            names = list(module.shards)
        found = {tuple(sorted(given(name, bits).items(), key=str)) for name in names}
        if len(found) > 1:
            raise settings.refuse(f"Fused module {module.name!r} requires consistent quant config for {names}")
        values = dict(found.pop())
        return None if values["bits"] >= 16 else _stored(settings, values)

    return rule


def _settings_of(settings: Settings) -> dict[str, Any]:
    group = settings.need("group_size")
    return {
        "bits": settings.count("bits"),
        "group_size": tuple(group) if isinstance(group, list) else group,
        "sym": settings.flag("sym", default=True),
    }


def _explicit(name: str, extra: Mapping[str, Settings]) -> Settings | None:
    if name in extra:
        return extra[name]
    for key, its in extra.items():
        if name.endswith(f".{key}"):
            return its
    for key, its in extra.items():
        if _SPECIAL.isdisjoint(key):
            continue
        try:
            if re.search(key, name):
                return its
        except re.error:
            continue
    return None


def _stored(settings: Settings, values: Mapping[str, Any]) -> Stored:
    bits, group = values["bits"], values["group_size"]
    kind = str(settings.get("data_type", default="int"))
    if "mx_fp" in kind:
        if bits not in (4, 8) or group != 32:
            raise settings.refuse(f"INC MXFP only supports bits=4 or bits=8 and group_size=32, not {bits} and {group}.")
        return MXFP4 if bits == 4 else MXFP8
    if kind in ("fp", "fp8"):
        if bits != 8 or not isinstance(group, tuple) or len(group) != 2:
            raise settings.refuse("INC block-wise FP8 only supports bits=8 and a 2-D group_size.")
        return of_blocks(*group)
    if kind != "int":
        raise settings.refuse(f"Unsupported data_type: {kind}, currently only support int, mx_fp and fp.")
    if not isinstance(bits, int) or not 2 <= bits <= 8:
        raise settings.refuse(f"Unsupported weight_bits: {bits}, currently only support 2 to 8.")
    if isinstance(group, bool) or not isinstance(group, int):
        raise settings.refuse(f"INC int quantization requires scalar group_size, but found group_size={group!r}.")
    return packed(bits, group, zeros=True)
