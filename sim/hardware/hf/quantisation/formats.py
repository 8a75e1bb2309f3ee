"""How vLLM's methods store the elements of a matrix of `rows` outputs by `columns` inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from continuum_sim.hardware.hf.quantisation.modules import Module
from continuum_sim.hardware.weights import Computed, Stored

Rule = Callable[[Module], Stored | None]
"""Module -> how it is stored; None: not quantised."""

_FLOAT32: Final = 32
_SCALE: Final = 16
"""Bits of a scale in the model's own type."""

MXFP4: Final = Stored("mxfp4", 4, scale_bits=8, scale_rows=1, scale_columns=32)
"""Two in a byte, and an 8-bit exponent per 32 elements (OCP Microscaling Formats 1.0)."""

MXFP8: Final = Stored("mxfp8", 8, scale_bits=8, scale_rows=1, scale_columns=32, computed="mxfp8")


def of_tensor(name: Computed, *, static: bool = False) -> Stored:
    """8 bits with one scale; `static`: and one for the input."""
    return Stored(name, 8, tensor_bits=_FLOAT32 * (2 if static else 1), computed=name)


def of_channels(name: Computed, *, static: bool = False) -> Stored:
    """8 bits with one scale per output."""
    tensor_bits = _FLOAT32 if static else 0
    return Stored(name, 8, scale_bits=_FLOAT32, scale_rows=1, tensor_bits=tensor_bits, computed=name)


def of_blocks(rows: int, columns: int, *, scale_bits: int = _FLOAT32) -> Stored:
    """FP8 with one scale per block."""
    return Stored("fp8", 8, scale_bits=scale_bits, scale_rows=rows, scale_columns=columns, computed="fp8")


def packed(bits: int, group: int, *, zeros: bool, computed: Computed = "bf16") -> Stored:
    """Integers with one scale per group of an output's inputs (-1: all of them), and a zero point of as many bits.

    Marlin's kernels turn them into the activations' type, so products are in that.
    """
    scale_bits = _SCALE + (bits if zeros else 0)
    columns = group if group > 0 else None
    return Stored(f"int{bits}", bits, scale_bits=scale_bits, scale_rows=1, scale_columns=columns, computed=computed)


def nvfp4(*, group: int = 16, scales: int = 2, computed: Computed = "fp4") -> Stored:
    """Two in a byte, an FP8 scale per group, and scales of the whole tensor: its own, and that of its input."""
    tensor_bits = _FLOAT32 * scales
    return Stored(
        "nvfp4", 4, scale_bits=8, scale_rows=1, scale_columns=group, tensor_bits=tensor_bits, computed=computed
    )
