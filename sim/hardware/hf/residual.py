"""What layers do to the residual stream besides mixing tokens and the MLP (Gemma 3n and 4)."""

from __future__ import annotations

from collections.abc import Iterable

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import FP32, Weight


def residual_weights(fields: Fields, n_layers: int) -> list[Weight]:
    """Return per-layer inputs, alternating streams (AltUp) and low-rank residuals (LAuReL).

    Raises
    ------
    ConfigError
        If one of their fields is invalid.
    """
    layers = tuple(range(n_layers))
    found: list[Weight] = []
    if fields.get("hidden_size_per_layer_input"):
        found += _own_inputs(fields, layers)
    if fields.get("altup_num_inputs") is not None:
        found += _alternating(fields, layers)
    if fields.get("laurel_rank") is not None:
        found += _low_rank(fields, layers)
    return found


def _own_inputs(fields: Fields, layers: tuple[int, ...]) -> Iterable[Weight]:
    hidden, width = fields.count("hidden_size"), fields.count("hidden_size_per_layer_input")
    yield Weight("model.layers.{}.per_layer_input_gate", width, hidden, layers)
    yield Weight("model.layers.{}.per_layer_projection", hidden, width, layers)
    yield Weight("model.layers.{}.post_per_layer_input_norm", hidden, layers=layers, use="vector")


def _alternating(fields: Fields, layers: tuple[int, ...]) -> Iterable[Weight]:
    hidden, streams = fields.count("hidden_size"), fields.count("altup_num_inputs")
    at = "model.layers.{}.altup."
    yield Weight(f"{at}correction_coefs", streams, streams, layers)
    yield Weight(f"{at}prediction_coefs", streams * streams, streams, layers)
    yield Weight(f"{at}modality_router", streams, hidden, layers)
    yield Weight(f"{at}router_norm", hidden, layers=layers, use="vector")
    if fields.flag("altup_correct_scale"):
        yield Weight(f"{at}correct_output_scale", hidden, layers=layers, use="vector", stored=FP32)
    for name in ("altup_projections", "altup_unembed_projections"):
        yield Weight(f"model.{name}", hidden, hidden, count=streams - 1, parts=hidden)


def _low_rank(fields: Fields, layers: tuple[int, ...]) -> Iterable[Weight]:
    hidden, rank = fields.count("hidden_size"), fields.count("laurel_rank")
    yield Weight("model.layers.{}.laurel.linear_left", rank, hidden, layers, parts=rank)
    yield Weight("model.layers.{}.laurel.linear_right", hidden, rank, layers, parts=rank, split="columns")
    yield Weight("model.layers.{}.laurel.post_laurel_norm", hidden, layers=layers, use="vector")
