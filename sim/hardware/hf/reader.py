"""Read a Hugging Face `config.json` as a `ModelSpec`: other files read its parts, this one combines them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.hf.architectures import check_architecture, supports_pp
from continuum_sim.hardware.hf.attention import attention_shapes, has_qk_norm, has_qkv_bias
from continuum_sim.hardware.hf.experts import dense_layers, expert_layers, expert_weights
from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields, read_fields
from continuum_sim.hardware.hf.layout import layer_count, mlp_layers
from continuum_sim.hardware.hf.length import model_lengths
from continuum_sim.hardware.hf.mixers import mixed
from continuum_sim.hardware.hf.mlp import mlp_weights
from continuum_sim.hardware.hf.quantisation import quantised
from continuum_sim.hardware.hf.residual import residual_weights
from continuum_sim.hardware.hf.stream import n_norms, norm_weights
from continuum_sim.hardware.hf.tables import table_weights
from continuum_sim.hardware.hf.towers import tower_weights
from continuum_sim.hardware.hf.unread import MissingField, Unread
from continuum_sim.hardware.hf.widths import widest_mlp
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.weights import Weight


def read_hf_config(path: Path) -> ModelSpec:
    """Read a model as vLLM 0.32 would build it.

    A configuration with unknown layers gives a model without weights (`ModelSpec.unread`), which runs only with
    measured step times and a measured number of KV blocks.

    Raises
    ------
    ConfigError
        Naming the file, the field and what was expected.
    """
    return read_model(read_fields(path), name=path.resolve().parent.name or str(path))


def read_model(outer: Fields, *, name: str) -> ModelSpec:
    """Read a model from its fields; `_name_or_path` wins over the name given."""
    notes = check_architecture(outer)
    fields = outer.text()
    known = outer.own.get("_name_or_path")
    length, longest = model_lengths(fields)
    spec = ModelSpec(
        name=str(known) if known else name,
        source=f"Hugging Face configuration {outer.path}",
        model_type=fields.model_type,
        n_layers=layer_count(fields),
        hidden=fields.count("hidden_size", default=1),
        n_heads=fields.count("num_attention_heads", default=1),
        intermediate=widest_mlp(fields),
        vocab=fields.count("vocab_size", default=1),
        max_model_len=length,
        longest_model_len=longest,
        caches=(),
        weights=(),
        gated_mlp=family_of(fields.model_type).gated,
        qkv_bias=has_qkv_bias(fields),
        qk_norm=has_qk_norm(fields),
        norms_per_layer=n_norms(fields),
        supports_pp=supports_pp(outer),
        notes=notes,
    )
    try:
        caches, mixing = mixed(fields, spec.n_layers)
    except (Unread, MissingField) as reason:
        return replace(spec, unread=str(reason), caches=_plain_caches(fields))
    spec = replace(spec, caches=tuple(caches))
    try:
        return _with_weights(spec, outer, fields, mixing)
    except (Unread, MissingField) as reason:
        return replace(spec, unread=str(reason))


def _with_weights(spec: ModelSpec, outer: Fields, fields: Fields, mixing: list[Weight]) -> ModelSpec:
    between = mlp_layers(fields, spec.n_layers)
    weights = list(mixing)
    weights += expert_weights(fields, expert_layers(fields, between))
    weights += mlp_weights(fields, dense_layers(fields, between))
    weights += norm_weights(fields, spec.n_layers, weights)
    weights += residual_weights(fields, spec.n_layers)
    weights += table_weights(outer, fields)
    towers, notes = tower_weights(outer)
    stored = quantised(outer, [*weights, *towers])
    return replace(
        spec,
        weights=stored.weights,
        quantization=stored.name,
        kv_scheme=stored.kv_scheme,
        notes=(*spec.notes, *notes, *stored.notes),
    )


def _plain_caches(fields: Fields) -> tuple[CacheLayers, ...]:
    """Return the caches if all layers had full attention; nothing if the shapes are not given."""
    try:
        layers, shapes = range(fields.count("num_hidden_layers")), attention_shapes(fields)
    except MissingField:
        return ()
    return (CacheLayers("full", tuple(layers), *shapes),)
