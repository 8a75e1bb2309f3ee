"""What every token of a layer with experts passes: the router, and the experts shared by all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from continuum_sim.hardware.hf.feed_forward import Mixture
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.mlp import mlp_matrices
from continuum_sim.hardware.weights import BF16, FP32, Stored, Weight

_FP32: Final = ("float32", "fp32", "float")
"""Names of float32 in fields."""


def router(fields: Fields, mixture: Mixture, count: int, layers: Sequence[int]) -> list[Weight]:
    """Return the weights that score `count` experts for a token, which every rank holds whole.

    Raises
    ------
    ConfigError
        If a field is invalid.
    """
    name = "model.layers.{}." + (mixture.router or f"{mixture.at}.gate")
    hidden, where, stored = fields.count("hidden_size"), tuple(layers), router_stored(fields, mixture)
    found = [Weight(name, count, hidden, where, stored=stored)]
    if mixture.router_bias:
        found.append(Weight(f"{name}.bias", count, layers=where, use="vector"))
    if mixture.scales:
        found += [
            Weight("model.layers.{}.router.scale", hidden, layers=where, use="vector"),
            Weight("model.layers.{}.router.per_expert_scale", count, layers=where, use="vector"),
            Weight("model.layers.{}.feedforward_layernorms", hidden, 1, where, 3, use="vector"),
        ]
    hashed = fields.count(mixture.hashed, default=0, least=0) if mixture.hashed else 0
    if by_token := tuple(layer for layer in where if layer < hashed):
        looked_up = fields.count("num_experts_per_tok")
        entries = fields.count("vocab_size")
        found.append(Weight(f"{name}.tid2eid", entries, looked_up, by_token, use="vector", stored=Stored("int32", 32)))
    if corrects(fields, mixture) and (scored := tuple(layer for layer in where if layer >= hashed)):
        found.append(Weight(f"{name}.e_score_correction_bias", count, layers=scored, use="vector", stored=FP32))
    return found


def router_stored(fields: Fields, mixture: Mixture) -> Stored:
    """Return how a router is stored; quantisation never changes it."""
    named = fields.get(mixture.router_type) if mixture.router_type else None
    if named is not None:
        return FP32 if named in _FP32 else BF16
    return FP32 if mixture.router_bits == 32 else BF16


def corrects(fields: Fields, mixture: Mixture) -> bool:
    """Return True if each expert has a score correction."""
    if mixture.correction in ("", "always"):
        return bool(mixture.correction)
    name, _, value = mixture.correction.partition("=")
    return fields.get(name) == value if value else fields.flag(name)


def shared_experts(fields: Fields, mixture: Mixture, layers: Sequence[int]) -> list[Weight]:
    """Return the experts that every token visits, as one MLP as wide as all of them.

    Raises
    ------
    ConfigError
        If a field is invalid.
    """
    if not mixture.shared_at or not (width := _shared_width(fields, mixture)):
        return []
    hidden, where = fields.count("hidden_size"), tuple(layers)
    found = [
        replace(weight, sequence_parallel=mixture.sequence_parallel)
        for weight in mlp_matrices(fields, mixture.shared_at, width, hidden, where)
    ]
    if mixture.shared_gate:
        found.append(Weight(f"model.layers.{{}}.{mixture.shared_at}_gate", 1, hidden, where))
    return found


def _shared_width(fields: Fields, mixture: Mixture) -> int:
    if mixture.shared_total and fields.get(mixture.shared_total) is not None:
        return fields.count(mixture.shared_total)
    times = fields.count(*mixture.shared_times, default=0, least=0) if mixture.shared_times else 1
    given = fields.get(*mixture.shared_width)
    if isinstance(given, list):  # in ERNIE-VL and Hunyuan: the same for all layers, text first
        given = given[0] if given else None
    if given is None:
        return 0
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= 2**31:
        raise fields.error(mixture.shared_width[0], given, "a whole number of at most 2**31")
    return times * given
