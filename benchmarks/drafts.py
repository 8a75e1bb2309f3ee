"""How fast runs with speculative decoding are, beside the same run without; prints a table and a line of JSON.

The load is what an engine with drafts sustains, so that the batches of both are those of a running service.
"""

from __future__ import annotations

import argparse
import json

from continuum_sim import run

CONFIGS = {
    "none": None,
    "ngram_gpu": "ngram_gpu:num_speculative_tokens=3,synthetic_acceptance_rates=0.8/0.6/0.4",
    "eagle3": "eagle3:num_speculative_tokens=3,synthetic_acceptance_rates=0.8/0.6/0.4",
}


def measure(programs: int, repeats: int) -> list[dict[str, object]]:
    """Return turns per second of wall-clock time in both modes, the best of some repeats."""
    rows = []
    for name, text in CONFIGS.items():
        row: dict[str, object] = {"drafts": name}
        for mode in ("fast", "stepwise"):
            summaries = [
                run(
                    trace="swebench.jsonl",
                    policy="lru",
                    arrivals="poisson:rate=0.1",
                    limit=programs,
                    engine=mode,
                    speculative_config=text,
                ).summary
                for _ in range(repeats)
            ]
            row[mode] = max(s.turns / s.wall_s for s in summaries)
            row["steps_per_turn"] = summaries[0].steps / summaries[0].turns
        rows.append(row)
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    rows = measure(asked.programs, asked.repeats)
    base = float(str(rows[0]["fast"]))
    print("drafts      fast turns/s  of none  stepwise  fast / stepwise  steps/turn")
    for row in rows:
        fast, stepwise, steps = (float(str(row[name])) for name in ("fast", "stepwise", "steps_per_turn"))
        told = f"{fast:12,.0f}  {fast / base:7.2f}  {stepwise:8,.0f}  {fast / stepwise:15.1f}  {steps:10.0f}"
        print(f"{row['drafts']:<10}  {told}")
    print("json:", json.dumps(rows))


if __name__ == "__main__":
    main()
