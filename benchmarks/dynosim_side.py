"""DynoSim's half of `dynosim.py`: runs in the Python that has `ai-dynamo-runtime`, and imports none of our code.

Reads one JSON job from standard input, replays it `repeats` times, and prints one JSON line.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

from dynamo.replay.api import run_synthetic_trace_replay, run_trace_replay  # type: ignore[import-not-found]


def replay(job: dict[str, Any], **options: Any) -> Any:
    """Simulate the job's trace, or the independent requests it describes."""
    options["extra_engine_args"] = {"engine": job["engine"]}
    if "trace" in job:
        return run_trace_replay(job["trace"], trace_format="agentic_mooncake", execution_model="any", **options)
    return run_synthetic_trace_replay(*job["requests"], request_rate=job["rate"], **options)


def main() -> None:
    """Run the job; `engine_s` is DynoSim's own figure, from building its runtime to the last token."""
    job = json.load(sys.stdin)
    summaries = [replay(job).summary for _ in range(job["repeats"])]
    found = {
        "version": version("ai-dynamo-runtime"),
        "engine_s": min(summary["wall_time_ms"] for summary in summaries) / 1e3,
        "turns": summaries[0]["completed_requests"],
        "input_tokens": summaries[0]["total_input_tokens"],
        "output_tokens": summaries[0]["total_output_tokens"],
    }
    if job.get("ends"):
        requests = replay(job, capture_per_request=True).per_request
        found["ends"] = sorted(
            (
                request.get("request_id") or "",
                request["arrival_time_ms"] / 1e3,
                request["first_token_ms"] / 1e3,
                request["terminal_time_ms"] / 1e3,
                request["admission_history"][0]["reused_input_tokens"],
            )
            for request in requests
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
