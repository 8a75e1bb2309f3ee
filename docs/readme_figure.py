"""Draw the README's picture: mean JCT against load for six policies, from simulations alone.

Run it from the root of the repository: ``python docs/readme_figure.py`` (about a minute on one core).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

import continuum_sim as cs

mpl.use("Agg")
import matplotlib.pyplot as plt

POLICIES = {
    "fcfs": "#999999",
    "lru": "#000000",
    "program-fifo": "#56b4e9",
    "ttl-static": "#e69f00",
    "ttl": "#009e73",
    "ttl:pressure=younger": "#d55e00",
}
RATES = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
SEEDS = (0, 1, 2)


def mean_jct_s(policy: str, rate: float) -> float:
    """Mean over seeds of the mean JCT, in seconds."""
    runs = [
        cs.run(trace="swebench.jsonl", policy=policy, arrivals=f"poisson:rate={rate}", seed=seed, timeline=False)
        for seed in SEEDS
    ]
    return sum(run.summary.jct_s.mean for run in runs) / len(runs)


def main() -> None:
    """Write docs/img/readme.png."""
    figure, axes = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
    for policy, colour in POLICIES.items():
        axes.plot(RATES, [mean_jct_s(policy, rate) for rate in RATES], "o-", label=policy, color=colour, ms=4)
    axes.set_xlabel("load (programs per second)")
    axes.set_ylabel("mean job completion time (s)")
    axes.set_title("100 SWE-bench agents, Llama-3.1-8B on one A100-80", fontsize=10)
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    target = Path(__file__).parent / "img" / "readme.png"
    figure.savefig(target, dpi=160)
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
