"""Inner widths of a model's MLPs, which may differ between layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from continuum_sim.hardware.hf.feed_forward import Mlp, mlp_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import filled


def mlp_widths(fields: Fields, layers: Sequence[int]) -> list[int]:
    """Return the MLP width of each of the given layers; 0 if a layer has none after all.

    Raises
    ------
    ConfigError
        If a width is missing or impossible.
    """
    if fields.has("block_configs"):
        blocks = each_layer(fields, fields.each("block_configs"), layers, "block_configs")
        return [_of_block(fields, block) for block in blocks]
    kind = mlp_of(fields.model_type)
    given = fields.get(*kind.width)
    if isinstance(given, list) and fields.model_type.startswith("nemotron_h"):  # one per MLP, or one for all
        given = given * len(layers) if len(given) == 1 else given
        return whole_numbers(fields, each_layer(fields, given, range(len(layers)), kind.width[0]), kind.width[0])
    if given is None and not (given := _silent(fields, kind)):
        fields.count(*kind.width)  # raises that it is missing
    widths = whole_numbers(fields, each_layer(fields, given, layers, kind.width[0]), kind.width[0])
    if fields.model_type == "lfm2" and fields.flag("block_auto_adjust_ff_dim"):
        return [_adjusted(fields, width) for width in widths]
    if fields.flag("use_double_wide_mlp"):
        first = fields.count("num_hidden_layers") - fields.count("num_kv_shared_layers", default=0, least=0)
        return [width * (2 if layer >= first > 0 else 1) for layer, width in zip(layers, widths, strict=True)]
    return widths


def widest_mlp(fields: Fields) -> int:
    """Return the width of the widest MLP given by a field, 1 if none is given.

    Raises
    ------
    ConfigError
        If it is impossible.
    """
    kind = mlp_of(fields.model_type)
    given = fields.get(*kind.width)
    if given is None:
        return max(1, _silent(fields, kind))
    return max(whole_numbers(fields, given if isinstance(given, list) else [given], kind.width[0]), default=1)


def each_layer(fields: Fields, given: Any, layers: Sequence[int], what: str) -> list[Any]:
    """Return a field's value for each of the given layers: one value for all, or a list with one per layer.

    Raises
    ------
    ConfigError
        If the list is too short.
    """
    if not isinstance(given, list):
        return [given] * len(layers)
    if layers and max(layers) >= len(given):
        raise fields.error(f"the length of {what}", len(given), f"{max(layers) + 1} or more, one entry a layer")
    return [given[layer] for layer in layers]


def whole_numbers(fields: Fields, values: list[Any], what: str) -> list[int]:
    """Check that a field's values are counts.

    Raises
    ------
    ConfigError
        Naming one that is not.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 2**31:
            raise fields.error(what, value, "a positive whole number of at most 2**31")
    return values


def _silent(fields: Fields, kind: Mlp) -> int:
    return kind.silent or kind.times_hidden * fields.count("hidden_size", default=1)


def _of_block(fields: Fields, block: Any) -> int:
    """Return the width from one of `block_configs`: none, a width, or a multiple of the stream's (DeciLM, Nemotron)."""
    mlp = block.get("ffn") if isinstance(block, dict) else None
    if not isinstance(mlp, dict):
        raise fields.error("block_configs", block, "an object with 'ffn' for each layer")
    if mlp.get("no_op"):
        return 0
    times = mlp.get("ffn_mult")
    if times is None:
        return whole_numbers(fields, [mlp.get("intermediate_size")], "intermediate_size of block_configs")[0]
    if isinstance(times, bool) or not isinstance(times, int | float) or not 0 < times < 2**16:
        raise fields.error("ffn_mult of block_configs", times, "a positive number")
    return filled(int(2 * times * fields.count("hidden_size") / 3), 256)


def _adjusted(fields: Fields, width: int) -> int:
    """Return two thirds of the file's width, times a factor, rounded up to a multiple (LFM2)."""
    times = fields.get("block_ffn_dim_multiplier")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int | float) or not 0 < times < 2**16):
        raise fields.error("block_ffn_dim_multiplier", times, "a positive number")
    narrower = int(2 * width / 3)
    if times is not None:
        narrower = int(times * narrower)
    return filled(narrower, fields.count("block_multiple_of", default=256))
