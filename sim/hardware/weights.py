"""The tensors of a model: what each holds, where it is used, and how much of it a rank stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from continuum_sim.hardware.parallel import Parallel

WeightUse = Literal["linear", "expert", "table", "head", "vector", "tower"]
"""Use of a tensor: a product with every token (`linear`) or with those routed to it (`expert`), a table lookup
(`table`), the logits (`head`), norms and other small ones (`vector`), or nothing in steps of text (`tower`)."""


Computed = Literal["bf16", "fp8", "int8", "fp4", "mxfp8"]
"""Types of products: `mxfp8` is fp8 with scales of its own, which GPUs with fp4 units multiply as fast as fp8."""


@dataclass(frozen=True)
class Stored:
    """How the elements of a tensor are stored."""

    name: str
    """The name in vLLM or in the field: bf16, fp8, int4, mxfp4."""
    bits: float
    """Bits per element."""
    scale_bits: int = 0
    """Bits that a group of elements shares: its scale, and its zero point if it has one."""
    scale_rows: int | None = None
    """Rows per group; None: the whole tensor."""
    scale_columns: int | None = None
    """Columns per group; None: the whole tensor."""
    tensor_bits: int = 0
    """Bits that a tensor has once: its overall scale, and its input's."""
    fill_rows: int = 1
    """A rank's rows are padded to a multiple of this, as a kernel requires."""
    fill_columns: int = 1
    computed: Computed = "bf16"
    """Type in which vLLM's kernels multiply it, on GPUs that have units for it; bf16 elsewhere."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the elements is stored."""
        return not self.scale_bits and not self.tensor_bits and self.fill_rows == self.fill_columns == 1

    def bytes_of(self, rows: int, columns: int) -> int:
        """Bytes of a tensor, including scales and padding."""
        rows, columns = filled(rows, self.fill_rows), filled(columns, self.fill_columns)
        groups = _groups(rows, self.scale_rows) * _groups(columns, self.scale_columns) if self.scale_bits else 0
        bits = rows * columns * self.bits + groups * self.scale_bits + self.tensor_bits
        return -int(-bits // 8)


BF16: Final = Stored("bf16", 16)
FP32: Final = Stored("fp32", 32)
"""For what vLLM keeps exact in a model of any type, such as the decay of a recurrence."""


@dataclass(frozen=True)
class Weight:
    """Tensors of one shape: one in each of some layers, or several per layer for experts."""

    name: str
    """vLLM's name of its module, with `{}` for the layer, such as `model.layers.{}.mlp.down_proj`."""
    rows: int
    """Outputs of a matrix, entries of a table or vector."""
    columns: int = 1
    """Inputs."""
    layers: tuple[int, ...] = ()
    """The layers that have it; empty for tensors outside the layers."""
    count: int = 1
    """Tensors per layer: 128 for 128 experts."""
    parts: int = 1
    """Number of equal parts into which tensor parallelism can divide it, as KV heads; 1: every rank holds it all."""
    split: Literal["rows", "columns"] = "rows"
    """Dimension that is divided. Matters if rows or columns share scales or are padded."""
    use: WeightUse = "linear"
    stored: Stored = BF16
    pad_rows: int = 1
    """Rows are padded to a multiple of this, as vLLM does with vocabularies (64)."""
    evenly: bool = False
    """True if every rank holds all of it unless `parts` divides over the ranks."""
    visited: int = 0
    """Of `count` experts, those that a token visits, such as 8 of 128; 0 if text visits none, or it is not given."""
    uses: int = 0
    """Times that a step multiplies with tensors of this shape, if layers share them; 0: once with each."""
    sequence_parallel: bool = False
    """Whether GPUs of ranks with whole experts hold it whole too, and divide tokens among them instead
    (`use_sequence_parallel_moe`)."""

    @property
    def n(self) -> int:
        """Number of tensors."""
        return self.count * (len(self.layers) or 1)

    @property
    def uses_of_each(self) -> float:
        """Times that a step multiplies with each of them."""
        return self.uses / self.n if self.uses else 1.0

    @property
    def n_params(self) -> int:
        """Number of elements in all of them."""
        return self.n * self.rows * self.columns

    def params_per_rank(self, ranks: int) -> int:
        """Elements that each of so many ranks holds, without padding."""
        return self.n * _share(self.rows * self.columns, self._divided(ranks))

    def bytes_per_rank(self, ranks: int) -> int:
        """Bytes that each of so many ranks holds, including scales and padding."""
        rows, into = filled(self.rows, self.pad_rows), self._divided(ranks)
        if self.stored.is_plain:
            return self.n * _share(self.stored.bytes_of(rows, self.columns), into)
        if self.split == "columns":
            return self.n * self.stored.bytes_of(rows, _share(self.columns, into))
        return self.n * self.stored.bytes_of(_share(rows, into), self.columns)

    def bytes_on(self, parallel: Parallel) -> int:
        """Bytes on each GPU of a split, on one with the most experts if these are whole (`FusedMoEParallelConfig`)."""
        if self.use == "expert" and parallel.enable_expert_parallel:
            return self.bytes_per_rank(1) // self.count * self.experts_on(parallel)
        if self.use == "expert":
            return self.bytes_per_rank(parallel.expert_ways)
        return self.bytes_per_rank(1 if self._whole(parallel) else parallel.tensor_parallel_size)

    def experts_on(self, parallel: Parallel) -> int:
        """Experts of a layer that a GPU has at least a slice of, most of all GPUs' (`determine_expert_map`)."""
        return _share(self.count, parallel.expert_ways) if parallel.enable_expert_parallel else self.count

    def _whole(self, parallel: Parallel) -> bool:
        return self.sequence_parallel and parallel.enable_expert_parallel and parallel.data_parallel_size > 1

    def _divided(self, ranks: int) -> int:
        return 1 if self.evenly and self.parts % ranks else min(self.parts, ranks)


def filled(size: int, multiple: int) -> int:
    """Return a size, rounded up to a multiple."""
    return -(-size // multiple) * multiple


def _groups(size: int, of: int | None) -> int:
    return 1 if of is None else -(-size // of)


def _share(amount: int, parts: int) -> int:
    return -(-amount // parts)
