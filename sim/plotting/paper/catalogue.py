"""The figures of the paper, in its order."""

from __future__ import annotations

from typing import Final

from continuum_sim.plotting.paper import alone, cluster, gains, steady, tails, turns
from continuum_sim.plotting.paper.beside import beside
from continuum_sim.plotting.paper.figure import PaperFigure

PAPER_FIGURES: Final[dict[str, PaperFigure]] = {
    figure.name: figure
    for figure in (
        tails.FIGURE,
        gains.DELAY,
        gains.THROUGHPUT,
        alone.OPENHANDS,
        beside(
            "paper-fig10",
            "fig10-swe-dram",
            "continuum-fig10-swe",
            "Mean job completion time with a DRAM tier, SWE-Bench (Figure 10)",
        ),
        alone.TAILS,
        cluster.FIGURE,
        alone.CHUNK,
        alone.BATCH,
        turns.FIGURE,
        *alone.SSD,
        beside(
            "paper-fig16-swe",
            "fig16-swe",
            "continuum-fig16-swe",
            "What each idea adds, SWE-Bench (Figure 16)",
        ),
        beside(
            "paper-fig16-bfcl",
            "fig16-bfcl",
            "continuum-fig16-bfcl",
            "What each idea adds, BFCL (Figure 16)",
        ),
        beside(
            "paper-public-code",
            "public-code",
            "continuum-public-code",
            "The authors' public code against vLLM",
        ),
        steady.FIGURE,
    )
}
