"""Mixtures of experts: which layers have one, and their weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from continuum_sim.hardware.hf.feed_forward import Mixture, mixture_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.mlp import mlp_matrices
from continuum_sim.hardware.hf.routers import router, shared_experts
from continuum_sim.hardware.hf.sparse import routes
from continuum_sim.hardware.hf.two_banks import two_banks
from continuum_sim.hardware.hf.unread import Unread
from continuum_sim.hardware.hf.widths import each_layer, whole_numbers
from continuum_sim.hardware.weights import Weight

_COUNTS: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""Fields that may hold the number of experts of a layer."""

_VISITED: Final = (
    *("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts"),
    *("moe_k", "moe_topk", "moe_top_k"),
)
"""Fields that may hold the number of experts that a token is routed to."""

_FFN_CONFIG: Final = {"moe_num_experts": 4, "moe_top_k": 1, "ffn_hidden_size": 3584}
"""Defaults of transformers' DbrxFFNConfig, for fields missing in the file."""


def n_experts(fields: Fields) -> int:
    """Return the number of experts in most of the layers with experts; 0 for a dense model."""
    given = _part(fields).get(*_COUNTS)
    if isinstance(given, list):
        given = max((each for each in given if isinstance(each, int)), default=0)
    return given if isinstance(given, int) and given > 1 else 0


def expert_layers(fields: Fields, layers: Sequence[int]) -> tuple[int, ...]:
    """Return those of the given layers that route tokens to experts.

    Raises
    ------
    ConfigError, Unread
        If a field about it is invalid, or the mixture is not known.
    """
    routed: tuple[int, ...] = ()
    if n_experts(fields):
        mixture = _mixture(fields)
        routed = tuple(layer for layer in layers if routes(fields, mixture, layer))
    if not routed and (known := mixture_of(fields.model_type)) is not None and known.needed:
        expected = f"one at least, without which vLLM does not serve {fields.model_type!r}"
        raise fields.error("the number of layers with experts", 0, expected)
    return routed


def dense_layers(fields: Fields, layers: Sequence[int]) -> tuple[int, ...]:
    """Return those of the given layers that have a dense MLP, instead of a mixture or beside it."""
    routed = expert_layers(fields, layers)
    if routed and _mixture(fields).beside:
        return tuple(layers)
    return tuple(layer for layer in layers if layer not in routed)


def expert_weights(fields: Fields, layers: Sequence[int]) -> list[Weight]:
    """Return routers, experts and shared experts of the layers that have them.

    Raises
    ------
    ConfigError, Unread
        If a field is invalid, or the mixture is not known.
    """
    if not layers:
        return []
    mixture, part = _mixture(fields), _part(fields)
    counts, widths = part.get(*_COUNTS), part.get(*mixture.width)
    if widths is None:
        part.count(*mixture.width)  # raises that it is missing
    for names, given in ((_COUNTS, counts), (mixture.width, widths)):
        _check_kind(part, names, given)
    visited = part.get(*_VISITED)
    if isinstance(counts, list) and mixture.layers == "between":
        return two_banks(fields, mixture, counts, widths, layers, visited)
    alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    each_count = whole_numbers(fields, each_layer(fields, counts, layers, _COUNTS[0]), _COUNTS[0])
    each_width = whole_numbers(fields, each_layer(fields, widths, layers, mixture.width[0]), mixture.width[0])
    for layer, count, width, each in zip(layers, each_count, each_width, _each_visited(visited, layers), strict=True):
        alike[count, width, min(each, count)].append(layer)
    found = shared_experts(fields, mixture, layers)
    for (count, width, each), where in alike.items():
        found += router(fields, mixture, count, where)
        found += [
            replace(weight, visited=each) if weight.use == "expert" else weight
            for weight in _routed(fields, mixture, count, width, where)
        ]
    return found


def _each_visited(given: object, layers: Sequence[int]) -> list[int]:
    """Return the experts of a token in each layer; 0 where the configuration does not say."""
    values = (
        [given[layer] if layer < len(given) else 0 for layer in layers]
        if isinstance(given, list)
        else [given] * len(layers)
    )
    return [value if isinstance(value, int) and value > 0 else 0 for value in values]


def _routed(fields: Fields, mixture: Mixture, count: int, width: int, layers: Sequence[int]) -> list[Weight]:
    """Return the experts themselves, and the projections to the width they work in and back."""
    at, hidden = f"{mixture.at}.experts".lstrip("."), fields.count("hidden_size")
    latent = bool(mixture.latent and fields.get(mixture.latent))
    inner, where = fields.count(mixture.latent) if latent else hidden, tuple(layers)
    found = mlp_matrices(
        fields, at, width, inner, where, count=count, bias=mixture.bias, use="expert", least=mixture.least
    )
    if not latent:
        return found
    base = f"model.layers.{{}}.{mixture.at}."
    down, up = mixture.latent_projections
    found += [Weight(base + down, inner, hidden, where), Weight(base + up, hidden, inner, where)]
    if mixture.latent_norm and fields.flag(mixture.latent_norm):
        found.append(Weight(f"{base}routed_expert_norm", inner, layers=where, use="vector"))
    return found


def _check_kind(fields: Fields, names: Sequence[str], given: object) -> None:
    """Refuse a list where the class expects a number, as transformers does."""
    if isinstance(given, list):
        name = next(name for name in names if fields.has(name))
        if any(isinstance(fields.defaults.get(spelling), int) for spelling in (name, fields.spelled.get(name, name))):
            raise fields.error(name, given, "a whole number")


def _part(fields: Fields) -> Fields:
    """Return the part with the mixture's fields: DBRX has a separate part for them, with its own class."""
    part = fields.part("ffn_config")
    return fields if part is None else Fields(fields.path, {**_FFN_CONFIG, **part.own}, fields)


def _mixture(fields: Fields) -> Mixture:
    mixture = mixture_of(fields.model_type)
    if mixture is None:
        raise Unread(f"{fields.path}: the experts of {fields.model_type!r} are not known")
    return mixture
