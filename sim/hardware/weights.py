"""The tensors a model is made of: what each of them holds, where it is needed, and what a rank stores of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

WeightUse = Literal["linear", "expert", "table", "head", "vector", "tower"]
"""What a tensor is for: a product with every token (`linear`) or with those routed to it (`expert`), looking tokens up
(`table`), the logits (`head`), norms and what else is small (`vector`), or nothing in steps of text (`tower`)."""


@dataclass(frozen=True)
class Stored:
    """How the numbers of a tensor are stored."""

    name: str
    """As vLLM or the field says: bf16, fp8, int4, mxfp4."""
    bits: float
    """Of one number."""
    scale_bits: int = 0
    """Of what a group of numbers shares: its scale, and its zero point where it has one."""
    scale_rows: int | None = None
    """Rows of a group; None: all of the tensor."""
    scale_columns: int | None = None
    """Columns of a group; None: all of the tensor."""
    tensor_bits: int = 0
    """Of what a tensor has once: the scale of all of it, and that of its input."""
    fill_rows: int = 1
    """The rows of a rank are filled up to a multiple, as a kernel needs them."""
    fill_columns: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether all that is stored are the numbers."""
        return not self.scale_bits and not self.tensor_bits and self.fill_rows == self.fill_columns == 1

    def bytes_of(self, rows: int, columns: int) -> int:
        """Bytes of a tensor, scales and filling included."""
        rows, columns = filled(rows, self.fill_rows), filled(columns, self.fill_columns)
        groups = _groups(rows, self.scale_rows) * _groups(columns, self.scale_columns) if self.scale_bits else 0
        bits = rows * columns * self.bits + groups * self.scale_bits + self.tensor_bits
        return -int(-bits // 8)


BF16: Final = Stored("bf16", 16)
FP32: Final = Stored("fp32", 32)
"""What vLLM keeps exact in a model of any type, such as the decay of a recurrence."""


@dataclass(frozen=True)
class Weight:
    """Tensors of one shape: one in each of some layers, or several as experts are."""

    name: str
    """Its module as vLLM names it, with `{}` for the layer, such as `model.layers.{}.mlp.down_proj`."""
    rows: int
    """Outputs of a matrix, entries of a table or vector."""
    columns: int = 1
    """Inputs."""
    layers: tuple[int, ...] = ()
    """The layers that have it; empty for what is outside of them."""
    count: int = 1
    """Tensors a layer: 128 of 128 experts."""
    parts: int = 1
    """Into how many equal parts tensor parallelism can divide it, as KV heads; 1: every rank holds all of it."""
    split: Literal["rows", "columns"] = "rows"
    """Which of them it divides. Matters where rows or columns share scales or are filled up."""
    use: WeightUse = "linear"
    stored: Stored = BF16
    pad_rows: int = 1
    """Rows are filled up to a multiple, as vLLM does with vocabularies (64)."""
    evenly: bool = False
    """Every rank holds all of it unless the ranks divide `parts`."""

    @property
    def n(self) -> int:
        """How many tensors there are."""
        return self.count * (len(self.layers) or 1)

    @property
    def n_params(self) -> int:
        """Numbers in all of them."""
        return self.n * self.rows * self.columns

    def params_per_rank(self, tensor_parallel_size: int) -> int:
        """Numbers one of the ranks holds, without padding."""
        return self.n * _share(self.rows * self.columns, self._divided(tensor_parallel_size))

    def bytes_per_rank(self, tensor_parallel_size: int) -> int:
        """Bytes one of the ranks holds, with scales and padding."""
        rows, into = filled(self.rows, self.pad_rows), self._divided(tensor_parallel_size)
        if self.stored.is_plain:
            return self.n * _share(self.stored.bytes_of(rows, self.columns), into)
        if self.split == "columns":
            return self.n * self.stored.bytes_of(rows, _share(self.columns, into))
        return self.n * self.stored.bytes_of(_share(rows, into), self.columns)

    def _divided(self, ranks: int) -> int:
        return 1 if self.evenly and self.parts % ranks else min(self.parts, ranks)


def filled(size: int, multiple: int) -> int:
    """Return a size, filled up to a multiple."""
    return -(-size // multiple) * multiple


def _groups(size: int, of: int | None) -> int:
    return 1 if of is None else -(-size // of)


def _share(amount: int, parts: int) -> int:
    return -(-amount // parts)
