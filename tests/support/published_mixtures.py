"""Published throughputs of mixtures of experts, listed before anything was predicted from them.

They were chosen for what they cover, among sources that state model, GPUs, lengths and turns at once, and none was left
out afterwards: full attention in bf16 on one GPU, a hybrid on two, and latent attention in fp8 on eight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import continuum_sim as cs
from continuum_sim.hardware import GpuSpec, find_gpu
from support.configurations import configured
from support.programs import program, turn


@dataclass(frozen=True)
class Published:
    """One figure: turns of equal lengths, always `concurrency` of them at once."""

    model: str
    """A folder of `tests/oracles/configs`."""
    gpu: str
    tensor_parallel_size: int
    concurrency: int
    input_tokens: int
    output_tokens: int
    n_turns: int
    """In all; ten for each at once, if the source does not say."""
    output_tokens_per_s: float
    tpot_ms: float | None
    """Milliseconds per output token after the first, if the source states them."""
    source: str


PUBLISHED: Final = (
    Published(
        *("qwen3-30b-a3b", "h100", 1, 10, 2048, 1024, 100, 739.79, 13.18),
        source="vLLM pull request 23151 (2025-08): TP 1 on an H100, 100 prompts, before its tuned kernel configuration",
    ),
    Published(
        *("qwen3-next-80b-a3b", "h200", 2, 8, 1000, 2000, 100, 937.94, None),
        source="SGLang pull request 10404 (2025-09): TP 2 on H200, 100 prompts, with its tuned kernel configuration",
    ),
    Published(
        *("deepseek-r1", "h200", 8, 64, 1024, 1024, 640, 8 * 223.6, 34.6),
        source="SemiAnalysisAI/InferenceX issue 870 (2026-03): DeepSeek-R1-0528 in fp8, SGLang 0.5.7, TP 8 on H200",
    ),
)


def predicted_tokens_per_s(published: Published) -> float:
    """Return the output tokens per second of a simulated run, served as vLLM does."""
    result = cs.run(
        [program(f"p{n}", turn(published.input_tokens, published.output_tokens)) for n in range(published.n_turns)],
        "lru",
        model=configured(published.model),
        gpu=with_fp8(find_gpu(published.gpu)),
        tensor_parallel_size=published.tensor_parallel_size,
        step_time="roofline",
        arrivals=f"closed:workers={published.concurrency}",
        timeline=False,
    )
    ended_s: float = result.turns["finish_s"].max()
    return published.n_turns * published.output_tokens / ended_s


def with_fp8(gpu: GpuSpec) -> GpuSpec:
    """Return a Hopper GPU with its peak in fp8, twice that in bf16, in case the catalogue has none."""
    return gpu if gpu.fp8_dense_flops is not None else replace(gpu, fp8_dense_flops=2 * gpu.bf16_dense_flops)


if __name__ == "__main__":  # PYTHONPATH=tests python -m support.published_mixtures: what the page's table has to show
    for one in PUBLISHED:
        found = predicted_tokens_per_s(one)
        measured = one.output_tokens_per_s
        print(f"{one.model}: {measured:,.0f} | {found:,.0f} | {100 * (found / measured - 1):+.0f} %")
