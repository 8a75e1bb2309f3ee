"""Which layers route tokens to experts: one rule for each way in which classes distinguish them from dense layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from continuum_sim.hardware.hf.feed_forward import Mixture, Routed
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.widths import each_layer

Rule = Callable[[Fields, Mixture, int], bool]


def routes(fields: Fields, mixture: Mixture, layer: int) -> bool:
    """Return True if a layer has experts.

    Raises
    ------
    ConfigError
        If a field about it is invalid.
    """
    return RULES[mixture.layers](fields, mixture, layer)


def _first(fields: Fields, mixture: Mixture, layer: int) -> bool:
    dense = fields.count("first_k_dense_replace", "num_dense_layers", default=mixture.first, least=0)
    return layer >= dense


def _first_then_every(fields: Fields, mixture: Mixture, layer: int) -> bool:
    return _first(fields, mixture, layer) and layer % fields.count("moe_layer_freq", default=1) == 0


def _every(fields: Fields, mixture: Mixture, layer: int) -> bool:
    step = fields.count("decoder_sparse_step", default=1)
    return (layer + 1) % step == 0 and layer not in (fields.each("mlp_only_layers") or ())


def _interleaved(fields: Fields, mixture: Mixture, layer: int) -> bool:
    step = fields.count("interleave_moe_layer_step", default=1, least=0)
    return step > 0 and (layer + 1) % step == 0


def _between(fields: Fields, mixture: Mixture, layer: int) -> bool:
    """A range of layers; ERNIE-VL has two of them, for text and for images."""
    if not fields.flag("use_moe", default=True):
        return False
    start, end = min(_numbers(fields, "moe_layer_start_index")), max(_numbers(fields, "moe_layer_end_index"))
    if end < 0 or not fields.has("moe_layer_end_index"):
        end = fields.count("num_hidden_layers") - 1
    return start <= layer <= end and (layer + 1) % fields.count("moe_layer_interval", default=1) == 0


def _periodic(fields: Fields, mixture: Mixture, layer: int) -> bool:
    return layer % fields.count("expert_layer_period") == fields.count("expert_layer_offset", default=0, least=0)


def _listed(fields: Fields, mixture: Mixture, layer: int) -> bool:
    given = fields.get("moe_layer_freq")
    return isinstance(given, list) and bool(each_layer(fields, given, [layer], "moe_layer_freq")[0])


def _listed_or_all(fields: Fields, mixture: Mixture, layer: int) -> bool:
    return fields.get("moe_layer_freq") is None or _listed(fields, mixture, layer)


def _typed(fields: Fields, mixture: Mixture, layer: int) -> bool:
    given = fields.each("mlp_layer_types")
    if given is None:
        return _first(fields, mixture, layer)
    return bool(each_layer(fields, given, [layer], "mlp_layer_types")[0] == "sparse")


def _enumerated(fields: Fields, mixture: Mixture, layer: int) -> bool:
    """Layer numbers listed in a string."""
    given = fields.get("moe_layers_enum")
    if given is None:
        return layer >= mixture.first
    numbers = [each.strip() for each in str(given).split(",")]
    if not all(each.isdecimal() for each in numbers):
        raise fields.error("moe_layers_enum", given, "numbers of layers and commas between them")
    return str(layer) in numbers


def _patterned(fields: Fields, mixture: Mixture, layer: int) -> bool:
    """One letter or word per layer; those with an E have experts."""
    pattern = fields.get("hybrid_override_pattern", "layer_types", "layers_block_type")
    return pattern is not None and layer < len(pattern) and pattern[layer] in ("E", "moe")


def _numbers(fields: Fields, name: str) -> Sequence[int]:
    given = fields.get(name)
    numbers = given if isinstance(given, list) else [0 if given is None else given]
    if not numbers or any(isinstance(each, bool) or not isinstance(each, int) for each in numbers):
        raise fields.error(name, given, "a whole number, or one for text and one for images")
    return numbers


RULES: Final[Mapping[Routed, Rule]] = {
    "all": lambda fields, mixture, layer: True,
    "first": _first,
    "first_then_every": _first_then_every,
    "every": _every,
    "interleaved": _interleaved,
    "between": _between,
    "periodic": _periodic,
    "listed": _listed,
    "listed_or_all": _listed_or_all,
    "typed": _typed,
    "enumerated": _enumerated,
    "patterned": _patterned,
}
"""The rules named by `Mixture.layers`."""
