"""Short notation for programs."""

from __future__ import annotations

from continuum_sim.engine.config import EngineConfig
from continuum_sim.traces.schema import Program, SharedPrefix, Turn


def turn(
    prompt: int, output: int, *, kept: int | None = None, gap: float = 0.0, tool: str = "bash"
) -> tuple[int, int, int | None, float, str]:
    """Return a turn for `program`; it keeps everything that the previous turn left unless `kept` says otherwise."""
    return (prompt, output, kept, gap, tool)


def program(
    name: str,
    *turns: tuple[int, int, int | None, float, str],
    at: float | None = 0.0,
    shared: tuple[str, int] | None = None,
) -> Program:
    """Return a program that arrives at `at` seconds; `shared` is (prefix id, tokens)."""
    made: list[Turn] = []
    left = 0
    for index, (prompt, output, kept, gap, tool) in enumerate(turns):
        last = index == len(turns) - 1
        keeps = min(prompt, left) if kept is None else kept
        made.append(Turn(prompt, keeps, output, None if last else tool, 0.0 if last else gap))
        left = prompt + output
    return Program(name, tuple(made), at, SharedPrefix(*shared) if shared else None)


def engine(
    usable: int,
    *,
    block_size: int = 4,
    budget: int = 64,
    seqs: int | None = None,
    max_model_len: int = 4096,
    watermark: float = 0.0,
    reserve: bool = True,
) -> EngineConfig:
    """Return an engine with this many usable blocks, besides vLLM's null block."""
    return EngineConfig(
        num_gpu_blocks=usable + 1,
        block_size=block_size,
        max_num_batched_tokens=budget,
        max_num_seqs=min(budget, 64) if seqs is None else seqs,
        max_model_len=max_model_len,
        watermark=watermark,
        scheduler_reserve_full_isl=reserve,
    )
