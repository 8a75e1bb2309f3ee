"""Two banks of experts in one layer, for text and for images, with shared experts (ERNIE 4.5 VL)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from continuum_sim.hardware.hf.feed_forward import Mixture
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.mlp import mlp_matrices, mlp_weights
from continuum_sim.hardware.hf.routers import shared_experts
from continuum_sim.hardware.hf.widths import whole_numbers
from continuum_sim.hardware.weights import FP32, Weight


def two_banks(
    fields: Fields, mixture: Mixture, counts: list[Any], widths: Any, layers: Sequence[int], visited: Any
) -> list[Weight]:
    """Return routers and experts of both banks, and their shared experts. Tokens of text visit the first bank.

    Raises
    ------
    ConfigError
        If a field does not hold one number for text and one for images.
    """
    hidden, where, last = fields.count("hidden_size"), tuple(layers), fields.count("num_hidden_layers") - 1
    counts, widths = _pair(fields, "moe_num_experts", counts), _pair(fields, mixture.width[0], widths)
    starts = _pair(fields, "moe_layer_start_index", fields.get("moe_layer_start_index"), 0)
    ends = _pair(fields, "moe_layer_end_index", fields.get("moe_layer_end_index"), last)
    found = shared_experts(fields, mixture, layers)
    found.append(Weight("model.layers.{}.mlp.e_score_correction_bias", counts[0], 2, where, use="vector", stored=FP32))
    for bank, count, width, start, end in zip(("text", "vision"), counts, widths, starts, ends, strict=True):
        routed = tuple(layer for layer in where if start <= layer <= end)
        name = f"mlp.{bank}_experts"
        found.append(Weight(f"model.layers.{{}}.{name}_gate", count, hidden, routed, stored=FP32))
        experts = mlp_matrices(fields, name, width, hidden, routed, count=count, use="expert")
        each = visited if bank == "text" and isinstance(visited, int) else 0
        found += [replace(weight, visited=each) if weight.use == "expert" else weight for weight in experts]
        # A layer that has experts only in the other bank has an MLP instead of these.
        found += mlp_weights(fields, [layer for layer in where if layer not in routed])
    return [weight for weight in found if weight.layers]


def _pair(fields: Fields, name: str, given: Any, default: int | None = None) -> list[int]:
    values = [default, default] if given is None and default is not None else given
    if not isinstance(values, list) or len(values) != 2:
        raise fields.error(name, given, "one number for text and one for images")
    return [value if value == 0 else whole_numbers(fields, [value], name)[0] for value in values]
