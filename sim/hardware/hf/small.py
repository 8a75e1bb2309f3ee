"""What is small: norms over the residual stream and biases of the matrices that others read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import Weight

_DIVIDED: Final = ("gate_proj", "up_proj")
"""Matrices whose outputs are divided over ranks, and their biases with them."""


def norm_weights(fields: Fields, n_layers: int) -> list[Weight]:
    """Return the norms over the residual stream, and what else a layer has of vectors."""
    family, hidden = family_of(fields.model_type), fields.count("hidden_size")
    each, layers = (2 if family.norm_bias else 1), tuple(range(n_layers))
    found = [Weight("model.layers.{}.norm", hidden, 1, layers, each * n_norms(fields), use="vector")]
    if family.layer_numbers:
        found.append(Weight("model.layers.{}.numbers", family.layer_numbers, 1, layers, use="vector"))
    if family.final_norm and fields.get("do_layer_norm_before") is not False:  # of OPT-350m
        found.append(Weight("model.norm", hidden, count=each, use="vector"))
    return found


def n_norms(fields: Fields) -> int:
    """Return how many norms over the residual stream a layer has."""
    if fields.model_type in ("falcon", "RefinedWeb", "RefinedWebModel") and fields.flag("parallel_attn", default=True):
        both = fields.get("num_ln_in_parallel_attn")
        return 2 if both == 2 or (both is None and fields.flag("new_decoder_architecture")) else 1
    return family_of(fields.model_type).norms


def bias_weights(fields: Fields, weights: Iterable[Weight]) -> list[Weight]:
    """Return the biases of attention's outputs and of dense MLPs among some matrices."""
    family = family_of(fields.model_type)
    out = fields.flag("attention_out_bias", "attention_bias") if family.out_bias is None else family.out_bias
    mlp = fields.flag("mlp_bias") if family.mlp_bias is None else family.mlp_bias
    found = []
    for weight in weights:
        module = weight.name.removeprefix("model.layers.{}.")
        if (out and module == "self_attn.o_proj") or (mlp and module.startswith("mlp.") and module.count(".") == 1):
            parts = weight.parts if module.endswith(_DIVIDED) else 1
            found.append(Weight(f"{weight.name}.bias", weight.rows, 1, weight.layers, weight.count, parts, "vector"))
    return found
