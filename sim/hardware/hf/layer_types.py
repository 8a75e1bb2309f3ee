"""Layer kinds from `layer_types`, or from windows as a class derives them: which layers have full attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.unread import Unread

Mixer = str
"""A key of `MIXERS`."""

_LAYER_TYPES: Final[Mapping[str, Mixer]] = {
    "full_attention": "full",
    "attention": "full",
    "indexed_attention": "full",
    "sliding_attention": "sliding",
    "window_attention": "sliding",
    "chunked_attention": "chunked",
    "conv": "conv",
}
"""Words in `layer_types`, of any model type."""

_RECURRENT: Final = ("linear_attention", "mamba")
"""Words in `layer_types` whose meaning depends on the model type (`Family.recurrence`)."""

_OTHER: Final = {
    "kv_lora_rank": "latent attention (MLA)",
    "linear_": "linear attention",
    "mamba_": "state-space layers",
    "ssm_": "state-space layers",
    "index_": "sparse attention with an indexer",
    "hc_": "hyper-connections",
    "swa_num_": "heads of sliding layers",
}
"""Prefixes of fields, in the file or the class, of layers that mix tokens in other ways."""


def window(fields: Fields) -> int | None:
    """Return the tokens that sliding layers attend to; None if no layer slides."""
    if family_of(fields.model_type).window_flag != "none" and not fields.flag("use_sliding_window"):
        return None
    if not fields.get("sliding_window"):
        return None
    tokens = fields.count("sliding_window")
    if fields.get("use_bidirectional_attention") in (True, "all"):  # of Gemma 3 and 4
        tokens = tokens // 2 + 1
    return tokens + family_of(fields.model_type).window_more


def layers_by_type(fields: Fields, n_layers: int) -> Sequence[Mixer]:
    """Return the kind of each layer from `layer_types`, or as the class derives it; all of one kind without either.

    Raises
    ------
    ConfigError, Unread
        If there are too few, vLLM does not serve them together, or a kind is not known.
    """
    types = _layer_types(fields, n_layers)
    slides = window(fields) is not None
    if types is None:
        return ("sliding" if slides else "full",) * n_layers
    if not slides or (len(set(types)) > 1 and not family_of(fields.model_type).window_by_layer):
        return ["full" if kind == "sliding" else kind for kind in types]
    return types


def _layer_types(fields: Fields, n_layers: int) -> list[Mixer] | None:
    """Return each layer's kind; None if neither the file nor the class gives it."""
    family = family_of(fields.model_type)
    types = fields.each("layer_types", "layers_block_type")
    if types is not None:
        return _read_types(fields, types, n_layers)
    if family.window_flag == "from" or "max_window_layers" in fields.defaults:
        return _after(fields, n_layers)
    if family.recurrence:
        return [family.recurrence] * n_layers
    every = family.window_every
    if every or not fields.known:
        given = fields.get("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers")
        every = given if isinstance(given, int) and given > 0 else every
    if every:
        kinds = ["full" if (layer + 1) % every == 0 else "sliding" for layer in range(n_layers)]
        return [*kinds[:-1], "full"] if family.last_full else kinds
    return None


def _read_types(fields: Fields, types: Sequence[object], n_layers: int) -> list[Mixer]:
    check_long(fields, "layer_types", types, n_layers)
    family, found = family_of(fields.model_type), []
    for kind in types[:n_layers]:
        mixer = _LAYER_TYPES.get(str(kind)) or (family.recurrence if kind in _RECURRENT else "")
        if not mixer:
            raise Unread(f"{fields.path}: layer_types has {kind!r}, which is not known")
        found.append(mixer)
    if family.last_full:
        found[-1] = "full"
    if family.window_all_or_none and len(set(found)) > 1 and fields.count("max_window_layers", least=0) != n_layers:
        raise _some_slide(fields, n_layers)
    return found


def _after(fields: Fields, n_layers: int) -> list[Mixer]:
    """Make the layers from `max_window_layers` on slide, as in Qwen's classes."""
    if window(fields) is None:
        return ["full"] * n_layers
    first = fields.count("max_window_layers", default=n_layers, least=0)
    if 0 < first < n_layers and family_of(fields.model_type).window_all_or_none:
        raise _some_slide(fields, n_layers)
    return ["sliding" if layer >= first else "full" for layer in range(n_layers)]


def _some_slide(fields: Fields, n_layers: int) -> ConfigError:
    expected = f"{n_layers}: vLLM serves this kind with a window in all layers or in none"
    return fields.error("max_window_layers", fields.get("max_window_layers"), expected)


def check_attends(fields: Fields) -> None:
    """Check that no field indicates layers that mix tokens in an unknown way.

    Raises
    ------
    Unread
        Naming that way.
    """
    for prefix, what in _OTHER.items():
        if any(name.startswith(prefix) and value for name, value in {**fields.defaults, **fields.own}.items()):
            raise Unread(f"{fields.path}: {what} of {fields.model_type!r} is not known")


def check_long(fields: Fields, name: str, given: Sequence[Any], n_layers: int) -> None:
    """Check that a field has an entry for every layer.

    Raises
    ------
    ConfigError
        If it has fewer.
    """
    if len(given) < n_layers:
        raise fields.error(name, f"{len(given)} long", f"{n_layers} entries, one a layer")
