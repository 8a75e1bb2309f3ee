"""What vLLM's profile run finds taken of a GPU beside weights: a full batch, its sampling, CUDA graphs, the runtime.

The run measures it (`Worker.determine_available_memory`); here it is counted from shapes. What a version keeps differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from continuum_sim.hardware.gpus import GIB
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel

_NON_TORCH_BYTES: Final = round(0.20 * GIB)
"""Memory outside PyTorch; vLLM's logs show 0.13 (H100, llm-d-benchmark), 0.16 (H100, pull request 12126) and 0.20 GiB
(24 GB GPU, pull request 14447)."""

_NCCL_BYTES: Final = {1: 0, 2: 358_612_992, 4: 411_041_792, 8: 411_041_792}
"""GPUs -> communication buffers on each, from aiconfigurator-core 0.12.0 (`nccl_mem`)."""

_CUDA_GRAPH_BYTES: Final = round(0.45 * GIB)
"""vLLM's own estimate, 0.45 GiB on an RTX 5090; its logs show up to 0.73 GiB (pull request 39559)."""


@dataclass(frozen=True)
class Profile:
    """What a version of vLLM keeps and counts."""

    sampler_bytes_per_logit: int
    """Live copies of the logits while the dummy batch is sampled."""
    cuda_graphs: bool
    """Whether it subtracts an estimate of them too (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS`, on since 0.21)."""
    keeps_workspace: bool = True
    """Whether experts have a workspace that stays (`WorkspaceManager`), or intermediate results that are freed."""


SORTING: Final = Profile(sampler_bytes_per_logit=38, cuda_graphs=False, keeps_workspace=False)
"""PyTorch's sampler, which sorts, up to 0.11: bf16 and fp32, sorted values and their places, the buffers of the sort,
softmax and noise. The profiles of Qwen3-0.6B and gpt-oss-20b in llm-d-benchmark have 38.1 and 38.0."""
FUSED: Final = Profile(sampler_bytes_per_logit=14, cuda_graphs=False)
"""FlashInfer's or Triton's top-k and top-p, before 0.21: bf16, fp32, softmax and its noise."""
CURRENT: Final = Profile(sampler_bytes_per_logit=14, cuda_graphs=True)
"""Since 0.21. The second model runner, which 0.32 prefers, keeps 4.25 bytes a logit for penalties and masks, and 2 as
it samples (`vllm/v1/worker/gpu/sample`): caches differ by less than 3 %, but are 8 % larger where little is left for
them. No log of it was found to judge by."""


def activations_bytes(
    model: ModelSpec,
    parallel: Parallel,
    tokens: int,
    requests: int,
    profile: Profile = CURRENT,
    *,
    receives: bool = False,
) -> int:
    """Return the peak of a full batch: an MLP of the largest step, or the sampler of the most requests.

    A stage of a pipeline that `receives` keeps what comes from the one before (`make_empty_intermediate_tensors`); one
    without the LM head samples nothing.
    """
    streams = (2 + 2 * receives) * tokens * model.hidden * model.dtype_bytes  # hidden states and residual
    mlp = tokens * _mlp_width(model) // parallel.tensor_parallel_size * model.dtype_bytes
    sampler = requests * model.vocab * profile.sampler_bytes_per_logit if model.has_head else 0
    workspace = _workspace_bytes(model, parallel, tokens)
    if profile.keeps_workspace:
        return streams + max(mlp, sampler) + workspace
    return streams + max(mlp, sampler, workspace)


def _mlp_width(model: ModelSpec) -> int:
    """Return the elements of a token in the widest dense MLP: the up (and gate) projections, then their product."""
    width = model.intermediate
    if model.n_experts:  # the field may be of a kind of layer that the model does not have
        width = max((one.rows for one in model.linear_weights() if one.name.endswith("up_proj")), default=0)
    return (3 if model.gated_mlp else 2) * width


def _workspace_bytes(model: ModelSpec, parallel: Parallel, tokens: int) -> int:
    """Return the two buffers of experts, each for all their tokens (`workspace_shapes` of `TritonExperts`).

    Experts see the tokens of all data-parallel ranks, gathered (`AgRsAll2AllManager`, vLLM's default).
    """
    most, tokens = 0, tokens * parallel.data_parallel_size
    ways = 1 if parallel.enable_expert_parallel else parallel.expert_ways
    for weight in model.expert_weights():
        if weight.split == "columns":  # the down projection
            hidden, inner = weight.rows, weight.columns // min(weight.parts, ways)
            first = (2 if model.gated_mlp else 1) * inner
            most = max(most, weight.visited * (max(inner, hidden) + max(first, hidden)))
    return tokens * most * model.dtype_bytes


def runtime_bytes(gpus: int, profile: Profile = CURRENT) -> int:
    """Return what CUDA graphs, buffers to communicate with so many GPUs and other memory outside PyTorch take."""
    nccl = _NCCL_BYTES.get(gpus, max(_NCCL_BYTES.values()))
    return _NON_TORCH_BYTES + nccl + (_CUDA_GRAPH_BYTES if profile.cuda_graphs else 0)
