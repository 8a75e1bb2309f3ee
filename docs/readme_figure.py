"""Draw the README's picture: mean JCT against load for six policies, from simulations alone.

Run it from the root of the repository: ``python docs/readme_figure.py`` (about a minute on one core).
"""

from __future__ import annotations

from pathlib import Path

import continuum_sim as cs
from continuum_sim.plotting.style import BLACK, GREEN, GREY, ORANGE, RED, SKY, new_figure, picture_bytes, styled

POLICIES = {
    "fcfs": GREY,
    "lru": BLACK,
    "program-fifo": SKY,
    "ttl-static": ORANGE,
    "ttl": GREEN,
    "ttl:pressure=younger": RED,
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
    curves = {policy: [mean_jct_s(policy, rate) for rate in RATES] for policy in POLICIES}
    target = Path(__file__).parent / "img" / "readme.png"
    with styled():
        figure = new_figure(5.0, 2.8)
        axes = figure.subplots()
        for policy, colour in POLICIES.items():
            axes.plot(RATES, curves[policy], "o-", label=policy, color=colour)
        axes.set_xlabel("load (programs per second)")
        axes.set_ylabel("mean job completion time (s)")
        axes.set_title("100 SWE-bench agents, Llama-3.1-8B on one A100-80")
        axes.set_xlim(0)
        axes.set_ylim(0)
        axes.legend()
        target.write_bytes(picture_bytes(figure, "png", dpi=230))
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
