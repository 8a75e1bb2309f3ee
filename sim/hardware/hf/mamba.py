"""State-space layers (Mamba 1 and 2): a convolution over the last tokens and a state of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from continuum_sim.hardware.caches import CacheLayers, Scan, State
from continuum_sim.hardware.hf.attention import full_attention
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.states import state_bytes
from continuum_sim.hardware.weights import FP32, Weight


def mamba(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return states and weights of Mamba 1 layers."""
    hidden, where = fields.count("hidden_size"), tuple(layers)
    inner = fields.count("mamba_expand", "expand", default=2) * hidden
    if fields.model_type in ("falcon_mamba", "mamba"):
        inner = fields.count("intermediate_size", default=inner)
    state = fields.count("mamba_d_state", "state_size", default=16)
    kernel = fields.count("mamba_d_conv", "conv_kernel", default=4)
    rank = _time_step_rank(fields, hidden)
    bias = fields.flag("mamba_proj_bias", "use_bias")
    normed = fields.model_type in ("jamba", "falcon_mamba")
    at = "model.layers.{}.mamba."

    def of_channels(name: str, rows: int, columns: int = 1, *, exact: bool = False) -> Weight:
        use = "vector" if columns == 1 else "linear"
        stored = {"stored": FP32} if exact else {}
        return Weight(at + name, rows, columns, where, parts=inner, use=use, **stored)  # type: ignore[arg-type]

    weights = [
        of_channels("in_proj", 2 * inner, hidden),
        of_channels("conv1d", inner, kernel),
        of_channels("x_proj", rank + 2 * state, inner),
        of_channels("dt_proj", inner, rank),
        of_channels("dt_proj.bias", inner),
        of_channels("A", inner, state, exact=True),
        of_channels("D", inner),
        of_channels("out_proj", hidden, inner),
    ]
    if fields.flag("mamba_conv_bias", "use_conv_bias", default=True):
        weights.append(of_channels("conv1d.bias", inner))
    if bias:
        weights += [
            of_channels("in_proj.bias", 2 * inner),
            Weight(f"{at}out_proj.bias", hidden, layers=where, use="vector"),
        ]
    if normed and fields.model_type == "jamba":
        weights.append(Weight(f"{at}layernorms", rank + 2 * state, layers=where, use="vector"))
    conv, temporal = state_bytes(fields)
    states = (State((kernel - 1, inner), 1, conv), State((inner, state), 0, temporal))
    return [CacheLayers("recurrent", where, states=states)], weights


def _time_step_rank(fields: Fields, hidden: int) -> int:
    rank = fields.get("mamba_dt_rank", "time_step_rank")
    return -(-hidden // 16) if rank in (None, "auto") else fields.count("mamba_dt_rank", "time_step_rank")


@dataclass(frozen=True)
class _Shape2:
    """The sizes of a Mamba 2 layer."""

    inner: int
    n_heads: int
    head_dim: int
    n_groups: int
    """Groups of heads that share the projections into and out of their states."""
    state: int
    kernel: int
    normed: bool
    """Whether there is a norm on the output."""

    @classmethod
    def of(cls, fields: Fields) -> _Shape2:
        hidden = fields.count("hidden_size")
        n_heads = fields.count("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads")
        head_dim = fields.count("mamba_d_head", "mamba_head_dim", "mamba_headdim", "head_dim")
        inner = n_heads * head_dim
        if fields.model_type == "falcon_h1" and fields.get("mamba_d_ssm") is not None:
            inner = fields.count("mamba_d_ssm")
        elif "nemotron_h" not in fields.model_type:
            inner = fields.count("mamba_expand", "expand", default=2) * hidden
        return cls(
            inner=inner,
            n_heads=n_heads,
            head_dim=head_dim,
            n_groups=fields.count("mamba_n_groups", "mamba_ngroups", "n_groups", default=1),
            state=fields.count("mamba_d_state", "ssm_state_size", "state_size", default=128),
            kernel=fields.count("mamba_d_conv", "conv_kernel", default=4),
            normed=fields.flag("mamba_rms_norm") if fields.model_type == "falcon_h1" else True,
        )


def mamba2(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return states and weights of Mamba 2 layers.

    If all heads share one group, every rank of tensor parallelism holds it.
    """
    shape, where, hidden = _Shape2.of(fields), tuple(layers), fields.count("hidden_size")
    at, heads, groups = "model.layers.{}.mamba.", shape.n_heads, shape.n_groups
    grouped = 2 * groups * shape.state

    def vector(name: str, rows: int, parts: int) -> Weight:
        return Weight(at + name, rows, layers=where, parts=parts, use="vector")

    weights = [
        Weight(f"{at}in_proj", 2 * shape.inner + heads, hidden, where, parts=heads),
        Weight(f"{at}in_proj", grouped, hidden, where, parts=groups),
        Weight(f"{at}conv1d", shape.inner, shape.kernel, where, parts=heads),
        Weight(f"{at}conv1d", grouped, shape.kernel, where, parts=groups),
        Weight(f"{at}out_proj", hidden, shape.inner, where, parts=heads),
        Weight(f"{at}A", heads, layers=where, parts=heads, use="vector", stored=FP32),
        vector("D", heads, heads),
        vector("dt_bias", heads, heads),
    ]
    if fields.flag("mamba_conv_bias", "use_conv_bias", default=True):
        weights += [vector("conv1d.bias", shape.inner, heads), vector("conv1d.bias", grouped, groups)]
    if fields.flag("mamba_proj_bias", "use_bias", "add_bias_linear"):
        weights += [vector("in_proj.bias", 2 * shape.inner + heads, heads), vector("in_proj.bias", grouped, groups)]
        weights.append(vector("out_proj.bias", hidden, 1))
    if shape.normed:
        weights.append(vector("norm", shape.inner, heads))
    conv, temporal = state_bytes(fields)
    whole = grouped if groups == 1 else 0
    states = (
        State((shape.kernel - 1, shape.inner + grouped), 1, conv, whole),
        State((heads, shape.head_dim, shape.state), 0, temporal),
    )
    chunk = fields.count("mamba_chunk_size", "chunk_size", default=256)
    scan = Scan("state_space", chunk, groups)
    return [CacheLayers("recurrent", where, states=states, num_prefill_checkpoint_blocks=1, scan=scan)], weights


def mamba2_beside_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches, states and weights of layers with both attention and a state (Falcon H1)."""
    caches, weights = full_attention(fields, layers)
    states, of_states = mamba2(fields, layers)
    return caches + states, weights + of_states
