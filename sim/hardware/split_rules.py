"""What may be split how: vLLM's rules, in its words, with what to do about it."""

from __future__ import annotations

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.splits import split_text
from continuum_sim.hardware.stages import stage_layers
from continuum_sim.hardware.weights import Weight


def check_split(model: ModelSpec, parallel: Parallel) -> None:
    """Refuse a split with which vLLM does not start.

    Raises
    ------
    ConfigError
        Naming the model, vLLM's reason and the remedy.
    """
    _check_nodes(parallel)
    tensor = parallel.tensor_parallel_size
    if model.attention and model.n_heads % tensor:  # `ModelConfig.verify_with_parallel_config`, as are the next two
        raise _refused(
            model,
            parallel,
            f"total number of attention heads ({model.n_heads}) must be divisible by tensor parallel size ({tensor})",
            "take a divisor, or --pp",
        )
    if parallel.enable_expert_parallel and not model.n_experts:
        raise _refused(
            model,
            parallel,
            "number of experts in the model must be greater than 0 when expert parallelism is enabled",
            "leave --enable-expert-parallel out",
        )
    if parallel.pipeline_parallel_size > 1:
        if not model.supports_pp:
            raise _refused(
                model,
                parallel,
                "pipeline parallelism is not supported for this model. Supported models implement the `SupportsPP` "
                "interface",
                "split it by --tp",
            )
        stage_layers(model, parallel.pipeline_parallel_size)
    for weight in model.weights:
        if weight.use in ("linear", "expert") and weight.split == "columns" and weight.name.endswith("down_proj"):
            _check_slices(model, weight, parallel)


def _check_nodes(parallel: Parallel) -> None:
    """Refuse ranks that begin and end within nodes: vLLM gives each node whole ranks, or parts of one."""
    here, ranks = parallel.gpus // parallel.nodes, parallel.data_parallel_size
    each = parallel.gpus // ranks
    if each % here and here % each:
        raise ConfigError(
            f"nodes is {parallel.nodes}, with {here} GPUs each, between which a data-parallel rank of {each} GPUs does "
            "not divide evenly: take as many --nodes as ranks, or a divisor or a multiple of that"
        )


def _ways(weight: Weight, parallel: Parallel) -> int:
    """Return the GPUs over which each matrix is divided."""
    if weight.use != "expert":
        return parallel.tensor_parallel_size
    return 1 if parallel.enable_expert_parallel else parallel.expert_ways


def _check_slices(model: ModelSpec, weight: Weight, parallel: Parallel) -> None:
    """Refuse slices of an MLP or of experts that are no whole columns, or no whole blocks of fp8 scales."""
    ways = _ways(weight, parallel)
    if ways == 1 or weight.parts == 1:
        return
    inner, experts = weight.columns, weight.use == "expert"
    remedy = "give --enable-expert-parallel, or split it less" if experts else "split it less"
    if inner % ways:  # `divide` (`vllm/distributed/utils.py`)
        raise _refused(model, parallel, f"{inner} is not divisible by {ways}", remedy)
    block = weight.stored.scale_columns
    if (
        weight.stored.name != "fp8"
        or weight.stored.scale_rows in (None, 1)
        or block is None
        or inner // ways % block == 0
    ):
        return
    width = inner // ways
    if experts:  # `validate_fp8_block_shape_moe`
        reason = f"the output_size of gate's and up's weight = {width} is not divisible by weight quantization block_n"
    else:  # `validate_fp8_block_shape`
        reason = f"weight input_size_per_partition = {width} is not divisible by weight quantization block_k"
    raise _refused(model, parallel, f"{reason} = {block}", remedy)


def _refused(model: ModelSpec, parallel: Parallel, reason: str, remedy: str) -> ConfigError:
    return ConfigError(f"vLLM does not start {model.name} with {split_text(parallel)}: {reason}; {remedy}")
