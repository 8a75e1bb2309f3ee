"""Which layer does what: how it mixes tokens (attention of some kind, a recurrence) and which MLP follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.unread import Unread

Mixer = Literal["full", "sliding", "chunked"]

_LAYER_TYPES: Final[dict[str, Mixer]] = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
}
"""Words of `layer_types`."""


_OTHER: Final = {
    "kv_lora_rank": "latent attention (MLA)",
    "linear_": "linear attention",
    "mamba_": "state-space layers",
    "ssm_": "state-space layers",
}
"""How fields begin of layers that mix tokens otherwise."""


def mixers(fields: Fields, n_layers: int) -> tuple[Mixer, ...]:
    """Return how each layer mixes tokens.

    Raises
    ------
    ConfigError, Unread
        For a field that is malformed, or a kind of layer that is not known.
    """
    for prefix, what in _OTHER.items():
        if any(name.startswith(prefix) and value for name, value in fields.own.items()):
            raise Unread(f"{fields.path}: {what} of {fields.model_type!r} is not known")
    types = fields.each("layer_types")
    if types is not None:
        return _by_types(fields, types, n_layers)
    if window(fields) is None:
        return ("full",) * n_layers
    return _by_pattern(fields, n_layers)


def mlp_layers(fields: Fields, n_layers: int) -> tuple[int, ...]:
    """Return the layers with an MLP or a mixture of experts: all but those of Nemotron-H that mix tokens only."""
    pattern = fields.get("hybrid_override_pattern", "layer_types", "layers_block_type")
    if not fields.model_type.startswith("nemotron_h") or not isinstance(pattern, str | list):
        return tuple(range(n_layers))
    return tuple(layer for layer, kind in enumerate(pattern[:n_layers]) if kind in ("-", "E", "mlp", "moe"))


def window(fields: Fields) -> int | None:
    """Return the tokens that sliding layers attend to; None where no layer slides."""
    if not fields.get("sliding_window") or fields.get("use_sliding_window") is False:
        return None
    return fields.count("sliding_window") + family_of(fields.model_type).window_more


def _by_types(fields: Fields, types: Sequence[object], n_layers: int) -> tuple[Mixer, ...]:
    if len(types) < n_layers:
        raise fields.error("layer_types", f"{len(types)} long", f"{n_layers} entries, one a layer")
    for kind in types[:n_layers]:
        if kind not in _LAYER_TYPES:
            raise Unread(f"{fields.path}: layer_types has {kind!r}, which is not known")
    found = tuple(_LAYER_TYPES[str(kind)] for kind in types[:n_layers])
    return found if window(fields) is not None else tuple("full" if kind == "sliding" else kind for kind in found)


def _by_pattern(fields: Fields, n_layers: int) -> tuple[Mixer, ...]:
    """Every so many layers one sees everything; without a pattern (Mistral 7B v0.1, Phi-3) all of them slide."""
    every = fields.get("sliding_window_pattern", "_sliding_window_pattern")
    if not isinstance(every, int) or every < 1:
        every = family_of(fields.model_type).window_every
    if fields.get("use_sliding_window") and "max_window_layers" in fields.defaults:
        _check_all_slide(fields, n_layers)
    return tuple("full" if every and (layer + 1) % every == 0 else "sliding" for layer in range(n_layers))


def _check_all_slide(fields: Fields, n_layers: int) -> None:
    first = fields.count("max_window_layers", default=n_layers, least=0)
    if first < n_layers:
        raise fields.error(
            "max_window_layers", first, f"{n_layers}: vLLM serves this kind with a window in all layers or in none"
        )
