"""Serve a few programs on a real engine under the plug-in.

`run` returns the cached tokens by request, and whether the prefix cache could be reset at the end, which vLLM refuses
while any block is referenced.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from continuum_sim.validate.engines.timed_scheduler import force_async_scheduling
from continuum_sim.validate.plugin import SCHEDULER_CLS
from continuum_sim.validate.session.tiny import write_tiny_model

BLOCK = 32
BLOCKS = 64


def ids(start: int, count: int) -> list[int]:
    """Return token ids of the tiny vocabulary whose first token differs for every `start`."""
    return [2 + (start * 97 + n * (start + 1)) % 1000 for n in range(count)]


def make_async_scheduler(vllm_config: Any, *args: Any, **kwargs: Any) -> Any:
    """Make the plug-in's scheduler, asynchronous even on a CPU."""
    from continuum_sim.validate.plugin import ContinuumScheduler

    force_async_scheduling(vllm_config)
    return ContinuumScheduler(vllm_config, *args, **kwargs)


async def run(folder: Path, policy: str, asynchronous: bool) -> dict[str, Any]:
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            model=str(write_tiny_model(folder / "model", max_position_embeddings=2048)),
            load_format="dummy",
            skip_tokenizer_init=True,
            enforce_eager=True,
            dtype="float32",
            max_model_len=BLOCKS * BLOCK - 2 * BLOCK,
            block_size=BLOCK,
            num_gpu_blocks_override=BLOCKS,
            max_num_batched_tokens=512,
            max_num_seqs=4,
            async_scheduling=asynchronous,
            scheduler_cls=f"{__name__}.make_async_scheduler" if asynchronous else SCHEDULER_CLS,
            additional_config={"continuum": {"policy": policy, "decisions": str(folder / "decisions.jsonl")}},
        )
    )
    cached: dict[str, int] = {}

    async def ask(name: str, prompt: list[int], outputs: int = 4, stop_after: int = 0, **extra: Any) -> list[int]:
        params = SamplingParams(
            max_tokens=outputs, ignore_eos=True, detokenize=False, temperature=0, extra_args=extra or None
        )
        stream = engine.generate({"prompt_token_ids": prompt}, params, request_id=name)
        tokens: list[int] = []
        async for output in stream:
            tokens = list(output.outputs[0].token_ids)
            cached[name] = output.num_cached_tokens or 0
            if stop_after and len(tokens) >= stop_after:
                break
        await stream.aclose()  # a client that disconnects
        return prompt + tokens

    try:
        kept = await ask("a0", ids(1, 10 * BLOCK), program_id="a")
        lost = await ask("b0", ids(2, 10 * BLOCK), program_id="b", last_turn=True)
        for number in range(6):  # more than the whole memory
            await ask(f"stranger{number}", ids(10 + number, 15 * BLOCK))
        await asyncio.gather(
            ask("a1", kept + ids(3, 40), program_id="a", previous_tool="ls"),
            ask("b1", lost + ids(4, 40), program_id="b2", last_turn=True),
        )
        await ask("c0", ids(5, 3 * BLOCK), 400, stop_after=2, program_id="c")
        await asyncio.gather(*(ask(f"d{n}", ids(20 + n, 20 * BLOCK), 40, program_id=f"d{n}") for n in range(5)))
        return {"cached": cached, "reset": await engine.reset_prefix_cache()}
    finally:
        engine.shutdown()
        engine.shutdown = list  # its finaliser calls this again when Python exits, and would fail
