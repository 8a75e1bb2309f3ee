"""Logs of runs in the formats of real tools: made from simulations, some of them distorted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import continuum_sim as cs
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import MAX_TOKENS_FINISH, Program, Turn
from support.steptimes import affine

WALL_S = 1.7e9
"""Start of the logs' wall clock."""
BOOT_S = 27_000.0
"""Start of the engine's clock."""
ENGINE: dict[str, Any] = {
    "kv_blocks": 60,
    "block_size": 16,
    "max_num_batched_tokens": 256,
    "max_num_seqs": 16,
    "max_model_len": 900,
}
"""Memory for a handful of requests, so that they wait and some are preempted."""
NAMES: dict[str, Any] = {"model": "llama-3.1-8b", "gpu": "a100-80"}

Row = dict[str, Any]


def requests(count: int = 40, seed: int = 0, rate: float = 6.0) -> list[Program]:
    """Return single-turn programs of random lengths with random arrivals."""
    rng = np.random.default_rng(seed)
    arrivals_s = np.cumsum(rng.exponential(1 / rate, count)) - 1 / rate
    arrivals_s -= arrivals_s[0]
    return [
        Program(f"r{n}", (Turn(int(rng.integers(1, 500)), 0, int(rng.integers(1, 90))),), float(at_s))
        for n, at_s in enumerate(arrivals_s)
    ]


def simulated_rows(programs: Iterable[Program], step_time: StepTime | None = None, **engine: Any) -> list[Row]:
    """Return what LLMServingSim's `bench` would write if the engine were the simulator."""
    settings = {"arrivals": "trace", **ENGINE, **NAMES, **engine}
    # A benchmark asks for lengths, so the engine foresees where they end.
    asked = [replace(p, turns=tuple(replace(turn, finish=MAX_TOKENS_FINISH) for turn in p.turns)) for p in programs]
    place = {program.program_id: n for n, program in enumerate(asked)}
    result = cs.run(asked, "lru", step_time=step_time or affine(), **settings)
    return [
        {
            "request_id": turn.program,
            "input_toks": turn.prompt_tokens,
            "output_toks": turn.output_tokens,
            "arrival_time": WALL_S + turn.arrival_s,
            "queued_ts": BOOT_S + turn.arrival_s,
            "scheduled_ts": BOOT_S + turn.scheduled_s,
            "first_token_ts": BOOT_S + turn.first_token_s,
            "last_token_ts": BOOT_S + turn.finish_s,
        }
        for turn in sorted(result.turns.itertuples(), key=lambda turn: (turn.arrival_s, place[turn.program]))
    ]


def stretched(rows: Sequence[Row], times: Callable[[float], float]) -> list[Row]:
    """Distort the times after each request's arrival."""
    bent = []
    for row in rows:
        arrival_s = row["queued_ts"]
        own = {name: arrival_s + times(row[name] - arrival_s) for name in row if name.endswith("_ts")}
        bent.append({**row, **own})
    return bent


def bench_result(rows: Sequence[Row], **more: Any) -> Row:
    """Return the same run as `vllm bench serve --save-result --save-detailed` would have written it."""
    ttfts = [row["first_token_ts"] - row["queued_ts"] for row in rows]
    latencies = [row["last_token_ts"] - row["queued_ts"] for row in rows]
    return {
        "date": "20260801-120000",
        "backend": "vllm",
        "model_id": "meta-llama/Llama-3.1-8B",
        "request_rate": 6.0,
        "max_concurrency": None,
        "completed": len(rows),
        "total_input_tokens": sum(row["input_toks"] for row in rows),
        "request_throughput": 1.0,
        "input_lens": [row["input_toks"] for row in rows],
        "output_lens": [row["output_toks"] for row in rows],
        "ttfts": ttfts,
        "itls": [_gaps(row) for row in rows],
        "latencies": latencies,
        "start_times": [row["queued_ts"] for row in rows],
        "errors": ["" for _ in rows],
        **more,
    }


def write_lines(path: Path, rows: Iterable[Row]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _gaps(row: Row) -> list[float]:
    """Return inter-token latencies; a chunk may hold several tokens, so there are fewer than tokens."""
    between_s = row["last_token_ts"] - row["first_token_ts"]
    return [between_s / 2, between_s / 2] if row["output_toks"] > 1 else []
