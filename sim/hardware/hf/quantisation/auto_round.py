"""AutoRound, which vLLM calls INC: integers in groups, FP8 in blocks or MX formats (`inc/`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from continuum_sim.hardware.hf.quantisation.formats import MXFP4, MXFP8, Rule, of_blocks, packed
from continuum_sim.hardware.hf.quantisation.modules import Module, one_spelling, pattern_of
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored

_SPECIAL: Final = frozenset("*+?^$()[]{}|\\")
"""Characters that make a name in `extra_config` a pattern."""


@dataclass(frozen=True)
class _Given:
    """How a module's numbers are quantised."""

    bits: int
    group: int | tuple[int, int]


def auto_round(settings: Settings) -> Rule:
    """Quantise modules of the chosen blocks, with the exceptions in `extra_config`."""
    settings.flag("sym", default=True)  # zero points are stored either way
    base = _Given(settings.count("bits"), _group(settings))
    _stored(settings, base)
    blocks = settings.get("block_name_to_quantize", "to_quant_block_names")
    names = (
        blocks.split(",")
        if isinstance(blocks, str)
        else settings.names("block_name_to_quantize", "to_quant_block_names")
    )
    begins = tuple(one_spelling(each.strip()) for each in names)
    extra = {
        one_spelling(name): settings.within("extra_config", its)
        for name, its in settings.mapping("extra_config").items()
    }

    def given(name: str, otherwise: _Given) -> _Given:
        its = _explicit(name, extra, str(settings.path))
        if its is None:
            return otherwise
        group = _group(its) if its.get("group_size") is not None else otherwise.group
        return _Given(its.count("bits", default=otherwise.bits), group)

    def rule(module: Module) -> Stored | None:
        if module.kind == "table":
            return None
        inside = module.name.startswith(begins) if begins else module.kind != "head" and not module.tower
        otherwise = base if inside else replace(base, bits=16)
        names = [module.name]
        if module.name not in extra and any(_explicit(shard, extra, str(settings.path)) for shard in module.shards):
            names = list(module.shards)
        found = {given(name, otherwise) for name in names}
        if len(found) > 1:
            raise settings.refuse(f"Fused module {module.name!r} requires consistent quant config for {names}")
        each = found.pop()
        return None if each.bits >= 16 else _stored(settings, each)

    return rule


def _group(settings: Settings) -> int | tuple[int, int]:
    """Return the group size, or the block size if there are two numbers."""
    value = settings.need("group_size")
    if isinstance(value, list) and len(value) == 2 and all(isinstance(size, int) and size > 0 for size in value):
        return value[0], value[1]
    return settings.count("group_size")


def _explicit(name: str, extra: Mapping[str, Settings], where: str) -> Settings | None:
    """Return the entry for a name itself, for its end, or for a pattern that matches it."""
    if name in extra:
        return extra[name]
    for key, its in extra.items():
        if name.endswith(f".{key}"):
            return its
    patterns = (key for key in extra if not _SPECIAL.isdisjoint(key))
    return next((extra[key] for key in patterns if pattern_of(key, where).search(name)), None)


def _stored(settings: Settings, given: _Given) -> Stored:
    bits, group = given.bits, given.group
    kind = str(settings.get("data_type", default="int"))
    if "mx_fp" in kind:
        if bits not in (4, 8) or group != 32:
            raise settings.refuse(f"INC MXFP only supports bits=4 or bits=8 and group_size=32, not {bits} and {group}.")
        return MXFP4 if bits == 4 else MXFP8
    if kind in ("fp", "fp8"):
        if bits != 8 or not isinstance(group, tuple):
            raise settings.refuse("INC block-wise FP8 only supports bits=8 and a 2-D group_size.")
        return of_blocks(*group)
    if kind != "int":
        raise settings.refuse(f"Unsupported data_type: {kind}, currently only support int, mx_fp and fp.")
    if not 2 <= bits <= 8:
        raise settings.refuse(f"Unsupported weight_bits: {bits}, currently only support 2 to 8.")
    if isinstance(group, tuple):
        raise settings.refuse(f"INC int quantization requires scalar group_size, but found group_size={group}.")
    return packed(bits, group, zeros=True)
