"""Building blocks of towers: matrices with a bias, norms, transformer blocks, each divided over ranks as in vLLM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Literal

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.unread import Unread
from continuum_sim.hardware.weights import Weight

By = Literal["rows", "columns"] | None
"""Dimension of a matrix that is divided: outputs with their biases, inputs, or nothing."""

_NONE: Final = ()


def part_of(outer: Fields, name: str = "vision_config") -> Fields:
    """Return a part of a configuration.

    Raises
    ------
    Unread
        If there is none.
    """
    part = outer.part_or_default(name)
    if part is None:
        raise Unread(f"{outer.path}: there is no {name}")
    return part


def matrix(
    name: str,
    rows: int,
    columns: int,
    *,
    layers: Iterable[int] = _NONE,
    by: By = None,
    parts: int | None = None,
    bias: bool = True,
    count: int = 1,
    evenly: bool = False,
) -> list[Weight]:
    """Return a matrix and its bias."""
    into = 1 if by is None else parts or (rows if by == "rows" else columns)
    where = tuple(layers)
    held = Weight(name, rows, columns, where, count, into, split=by or "rows", use="tower", evenly=evenly)
    if not bias:
        return [held]
    return [held, replace(held, name=f"{name}.bias", columns=1, parts=into if by == "rows" else 1, split="rows")]


def vector(name: str, size: int, *, layers: Iterable[int] = _NONE, count: int = 1) -> list[Weight]:
    """Return vectors that every rank holds, such as norms."""
    return [Weight(name, size, 1, tuple(layers), count, use="tower")] if count else []


def norm(name: str, size: int, *, layers: Iterable[int] = _NONE, count: int = 1, bias: bool = True) -> list[Weight]:
    """Return norms, with a bias or without (RMS norms)."""
    return vector(name, size, layers=layers, count=count * (2 if bias else 1))


def blocks(
    at: str,
    n_layers: int,
    hidden: int,
    inner: int,
    heads: int,
    *,
    width: int | None = None,
    attention: By = "rows",
    mlp: By = "rows",
    gated: bool = False,
    bias: bool = True,
    qkv_bias: bool | None = None,
    norms: int = 2,
    norm_bias: bool = True,
    evenly: bool = False,
) -> list[Weight]:
    """Return blocks of attention and an MLP, divided or whole; `width` is used if it differs from the stream's."""
    layers, at, width = range(n_layers), f"{at}.{{}}.", width or hidden
    out: By = "columns" if attention else None
    down: By = "columns" if mlp else None
    parts = heads if evenly else None
    return [
        *matrix(
            f"{at}qkv",
            3 * width,
            hidden,
            layers=layers,
            by=attention,
            parts=heads,
            bias=bias if qkv_bias is None else qkv_bias,
            evenly=evenly,
        ),
        *matrix(f"{at}out", hidden, width, layers=layers, by=out, parts=heads, bias=bias, evenly=evenly),
        *matrix(
            f"{at}up",
            inner,
            hidden,
            layers=layers,
            by=mlp,
            parts=parts,
            bias=bias,
            count=2 if gated else 1,
            evenly=evenly,
        ),
        *matrix(f"{at}down", hidden, inner, layers=layers, by=down, parts=parts, bias=bias, evenly=evenly),
        *norm(f"{at}norm", hidden, layers=layers, count=norms, bias=norm_bias),
    ]


def patches(
    fields: Fields, name: str, hidden: int, *, bias: bool = True, times: int = 1, patch: int = 14
) -> list[Weight]:
    """Return the convolution that makes patches of an image, or of `times` images at once."""
    size = _one(fields, "patch_size", patch)
    channels = fields.count("num_channels", "in_channels", "in_chans", default=3)
    return matrix(name, hidden, channels * times * size * size, bias=bias)


def n_patches(fields: Fields) -> int:
    """Return how many patches an image has."""
    return (_one(fields, "image_size", 224) // _one(fields, "patch_size", 14)) ** 2


def pair(fields: Fields, name: str, default: tuple[int, int]) -> tuple[int, int]:
    """Return two whole numbers.

    Raises
    ------
    ConfigError
        If the field is something else.
    """
    value = fields.get(name)
    if value is None:
        return default
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(each) is int and 0 < each < 2**31 for each in value)
    ):
        raise fields.error(name, value, "two positive whole numbers")
    return value[0], value[1]


def _one(fields: Fields, name: str, default: int) -> int:
    """Return a side of a square, which some files give twice."""
    if isinstance(fields.get(name), list):
        return pair(fields, name, (default, default))[0]
    return fields.count(name, default=default)
