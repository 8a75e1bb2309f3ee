"""Short convolutions over the last tokens (LFM2)."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.hardware.caches import CacheLayers, State
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import Weight


def short_conv(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return states and weights of gated convolution layers."""
    hidden, where, kernel = fields.count("hidden_size"), tuple(layers), fields.count("conv_L_cache", default=3)
    width, at = fields.count("conv_dim", default=hidden), "model.layers.{}.conv."
    weights = [
        Weight(f"{at}in_proj", 3 * width, hidden, where, parts=width),
        Weight(f"{at}conv1d", width, kernel, where, parts=width),
        Weight(f"{at}out_proj", hidden, width, where, parts=width),
    ]
    if fields.flag("conv_bias"):
        weights.append(Weight(f"{at}bias", 4 * width, layers=where, parts=width, use="vector"))
        weights.append(Weight(f"{at}out_proj.bias", hidden, layers=where, use="vector"))
    return [CacheLayers("recurrent", where, states=(State((kernel - 1, width), 1),))], weights
