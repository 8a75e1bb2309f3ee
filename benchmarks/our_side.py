"""Our half of `dynosim.py`: same structure as `dynosim_side.py`, with our simulator."""

from __future__ import annotations

import json
import sys
from typing import Any

from fixed_step import FixedStep
from harness import simulate

from continuum_sim.engine.config import EngineConfig
from continuum_sim.traces import read_programs


def main() -> None:
    """Run the job; `engine_s` is from building the engine to the last token."""
    job = json.load(sys.stdin)
    config, step_time = EngineConfig(**job["engine"]), FixedStep(**job["step_time"])
    programs = list(read_programs(job["trace"]))
    runs = [simulate(programs, arrivals="trace", step_time=step_time, config=config) for _ in range(job["repeats"])]
    turns = runs[0].records.turns
    found: dict[str, Any] = {
        "engine_s": min(run.wall_s for run in runs),
        "turns": len(turns),
        "input_tokens": sum(turn.prompt_tokens for turn in turns),
        "output_tokens": sum(turn.output_tokens for turn in turns),
        "steps": runs[0].totals.steps,
        "preemptions": runs[0].totals.preemptions,
        "cached_share": runs[0].records.cached_share,
    }
    if job.get("ends"):
        found["ends"] = sorted(
            (f"{t.program}/{t.turn}", t.arrival_s, t.first_token_s, t.finish_s, t.cached_tokens) for t in turns
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
