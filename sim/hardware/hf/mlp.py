"""The dense MLP of a layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.feed_forward import mlp_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.widths import mlp_widths
from continuum_sim.hardware.weights import Weight, WeightUse


def mlp_weights(fields: Fields, layers: Sequence[int]) -> list[Weight]:
    """Return the MLPs of the given layers, each as wide as the configuration says.

    Raises
    ------
    ConfigError
        If a width is missing or impossible.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for layer, width in zip(layers, mlp_widths(fields, layers) if layers else (), strict=True):
        alike[width].append(layer)
    kind, hidden = mlp_of(fields.model_type), fields.count("hidden_size")
    bias = kind.bias == "always" or bool(kind.bias and fields.flag(kind.bias))
    found: list[Weight] = []
    for width, where in alike.items():
        if width:
            least = 1 if kind.divided else width
            found += mlp_matrices(fields, kind.at, width, hidden, where, bias=bias, least=least)
    return found


def mlp_matrices(
    fields: Fields,
    at: str,
    inner: int,
    outer: int,
    layers: Iterable[int],
    *,
    count: int = 1,
    bias: bool = False,
    use: WeightUse = "linear",
    least: int = 1,
) -> list[Weight]:
    """Return the matrices of an MLP or of `count` experts: up to `inner`, with or without a gate, and down again.

    A rank holds at least `least` of the inner width, padded if its share is less.
    """
    where, parts = tuple(layers), max(1, inner // least)
    ups = ("gate_proj", "up_proj") if family_of(fields.model_type).gated else ("up_proj",)
    base = f"model.layers.{{}}.{at}."
    found = [Weight(base + name, inner, outer, where, count, parts=parts, use=use) for name in ups]
    found.append(Weight(f"{base}down_proj", outer, inner, where, count, parts=parts, split="columns", use=use))
    if bias:
        found += [Weight(f"{base}{name}.bias", inner, 1, where, count, parts=parts, use="vector") for name in ups]
        found.append(Weight(f"{base}down_proj.bias", outer, 1, where, count, use="vector"))
    return found
