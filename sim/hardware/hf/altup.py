"""What Gemma 3n and 4 have beside the stream: a table with rows for every layer, and 3n's AltUp and LAuReL."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.tables import VOCAB_PADDING
from continuum_sim.hardware.weights import Stored, Weight


def beside_the_stream(fields: Fields) -> list[Weight]:
    """Return these weights; none for other models."""
    found = _per_layer(fields) if fields.get("hidden_size_per_layer_input") else []
    return found + (_altup(fields) if fields.get("altup_num_inputs") else [])


def _per_layer(fields: Fields) -> list[Weight]:
    n_layers, hidden = fields.count("num_hidden_layers"), fields.count("hidden_size")
    each, rows = fields.count("hidden_size_per_layer_input"), fields.count("vocab_size_per_layer_input")
    layers, width = tuple(range(n_layers)), each * n_layers
    return [
        Weight("model.embed_tokens_per_layer", rows, width, parts=rows, use="table", pad_rows=VOCAB_PADDING),
        Weight("model.per_layer_model_projection", width, hidden, parts=width),
        Weight("model.per_layer_projection_norm", each, use="vector"),
        Weight("model.layers.{}.per_layer_input_gate", each, hidden, layers),
        Weight("model.layers.{}.per_layer_projection", hidden, each, layers),
        Weight("model.layers.{}.post_per_layer_input_norm", hidden, layers=layers, use="vector"),
    ]


def _altup(fields: Fields) -> list[Weight]:
    streams, hidden, rank = (fields.count(name) for name in ("altup_num_inputs", "hidden_size", "laurel_rank"))
    layers, at = tuple(range(fields.count("num_hidden_layers"))), "model.layers.{}."
    return [
        Weight("model.altup_projections", hidden, hidden, count=streams - 1, parts=hidden),
        Weight("model.altup_unembed_projections", hidden, hidden, count=streams - 1, parts=hidden),
        Weight(f"{at}altup.correct_output_scale", hidden, layers=layers, use="vector", stored=Stored("fp32", 32)),
        Weight(f"{at}altup.correction_coefs", streams, streams, layers),
        Weight(f"{at}altup.prediction_coefs", streams**2, streams, layers),
        Weight(f"{at}altup.modality_router", streams, hidden, layers),
        Weight(f"{at}altup.router_norm", hidden, layers=layers, use="vector"),
        Weight(f"{at}laurel.linear_left", rank, hidden, layers),
        Weight(f"{at}laurel.linear_right", hidden, rank, layers),
        Weight(f"{at}laurel.post_laurel_norm", hidden, layers=layers, use="vector"),
    ]
