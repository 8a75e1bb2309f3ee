"""Step times of data-parallel ranks that step together: each step ends when the slowest rank's does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import ceil
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.steptime.bases import VectorStepTime
from continuum_sim.steptime.batch import StepBatch, grown
from continuum_sim.steptime.model import Line, RankedStepTime, StepTime
from continuum_sim.steptime.piecewise import Piece, PiecewiseStepTime

NO_WORK: Final = StepBatch(0, 0, 0, 0, 0, 0)
"""The batch of a rank without turns."""

DUMMY: Final = StepBatch(0, 0, 0, 0, 1, 1)
"""What it runs nevertheless: one token (`execute_dummy_batch` of vllm/v1/worker/gpu_worker.py)."""


def ranked(step_time: StepTime) -> RankedStepTime:
    """Return step times of ranks: the model's own, or else those of its slowest rank."""
    if hasattr(step_time, "together_s"):
        return cast(RankedStepTime, step_time)
    return Slowest(step_time)


def steps_of(step_time: StepTime, batch: StepBatch, n_steps: int) -> NDArray[np.float64]:
    """Return the seconds of each of the n steps of a run."""
    if isinstance(step_time, PiecewiseStepTime):
        return spread(step_time.pieces(batch, n_steps))
    if isinstance(step_time, VectorStepTime):
        return step_time.steps_s(batch, n_steps)
    return np.array([step_time.step_s(grown(batch, j)) for j in range(n_steps)])


def at_least(pieces: Sequence[Piece], least_s: float) -> Sequence[Piece]:
    """Return pieces of the same run whose steps take no less than `least_s`; affine ones that grow."""
    raised: list[Piece] = []
    for n, a, b, c in pieces:
        below = n if a + (n - 1) * b < least_s else max(0, ceil((least_s - a) / b)) if b > 0 else 0
        if below:
            raised.append((min(below, n), least_s, 0.0, 0.0))
        if below < n:
            raised.append((n - below, a + below * b, b, c))
    return raised


def longest(runs: Sequence[Sequence[Piece]]) -> NDArray[np.float64]:
    """Return the seconds of each step of the longest of some runs of as many steps."""
    seconds = spread(runs[0])
    for pieces in runs[1:]:
        seconds = np.maximum(seconds, spread(pieces))
    return seconds


def spread(pieces: Sequence[Piece]) -> NDArray[np.float64]:
    """Return the seconds of each step of the pieces of a run."""
    found = []
    for n, a, b, c in pieces:
        j = np.arange(n, dtype=float)
        found.append(a + j * (b + j * c))
    return found[0] if len(found) == 1 else np.concatenate(found)


class Slowest:
    """The step times of a model that knows no other ranks: whoever is slowest keeps all others waiting."""

    def __init__(self, step_time: StepTime) -> None:
        self.step_time = step_time

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step."""
        return self.step_time.step_s(batch)

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps."""
        return self.step_time.run_s(batch, n_steps)

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        return self.step_time.steps_to_reach(batch, n_steps, elapsed_s)

    def describe(self) -> dict[str, Any]:
        """Describe the model."""
        return self.step_time.describe()

    def own_line(self, batch: StepBatch, n_steps: int) -> Line | None:
        """Return what a run takes if every step takes as much more than the one before; else None."""
        if not isinstance(self.step_time, PiecewiseStepTime):
            return None
        first, *others = self.step_time.pieces(batch, n_steps)
        return None if others or first[3] else (first[1], first[2])

    def shared_s(self, tokens: Sequence[int]) -> float:
        """Return no time: every rank's own is all of it."""
        return 0.0

    def together_s(self, batches: Sequence[StepBatch]) -> float:
        """Seconds of one step of all ranks."""
        return float(self.together_runs_s(batches, 1)[0])

    def together_runs_s(self, batches: Sequence[StepBatch], n_steps: int) -> NDArray[np.float64]:
        """Seconds of each of n steps of all ranks."""
        model, different = self.step_time, dict.fromkeys(batches)
        seconds = np.zeros(n_steps)
        for batch in different:  # a dummy step has no context that grows
            seconds = np.maximum(seconds, steps_of(model, batch, n_steps) if batch != NO_WORK else model.step_s(DUMMY))
        return seconds


class AmongRanks(PiecewiseStepTime):
    """Base of models whose step time depends on how many tokens all ranks together send to the experts.

    All exchange tokens at every mixture, so that in each layer whoever attends longest keeps the others waiting.
    """

    ranks: int = 1
    """Ranks that step together."""
    graph_tokens: int = 512
    """Tokens of the largest step that vLLM captures as a graph: up to this, all ranks are padded to as many as the
    largest has, since all must run the same graph (`_post_process_dp_padding` of vllm/v1/worker/dp_utils.py)."""

    @abstractmethod
    def pieces_among(self, batch: StepBatch, n_steps: int, all_tokens: int, *, halved: bool = False) -> Sequence[Piece]:
        """Cut a run of one rank, while all ranks compute so many tokens in each step, in two halves or not."""

    def halves(self, batches: Sequence[StepBatch]) -> bool:
        """Return whether ranks with such batches run each step as two halves."""
        return False

    def pieces(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Cut a run of a rank whose fellows have the same batch."""
        all_tokens = self.ranks * (batch.prefill_tokens + batch.decode_requests)
        return self.pieces_among(batch, n_steps, all_tokens, halved=self.halves((batch,)))

    def all_tokens(self, tokens: Sequence[int]) -> int:
        """Return the tokens of all ranks, padded to as many as the largest has if there are graphs for that."""
        most = max(tokens)
        return len(tokens) * most if most <= self.graph_tokens else sum(tokens)

    def own_line(self, batch: StepBatch, n_steps: int) -> Line | None:
        """Return what a run takes without what all ranks do together, if every step takes as much more; else None."""
        return None

    def shared_s(self, tokens: Sequence[int]) -> float:
        """Return the seconds of what ranks with so many tokens each do together; for models with lines."""
        return 0.0

    def together_s(self, batches: Sequence[StepBatch]) -> float:
        """Seconds of one step of all ranks: what the slowest does alone, and what all do together."""
        return float(self.together_runs_s(batches, 1)[0])

    def together_runs_s(self, batches: Sequence[StepBatch], n_steps: int) -> NDArray[np.float64]:
        """Seconds of each of n steps of all ranks."""
        working = [batch if batch != NO_WORK else DUMMY for batch in batches]
        tokens = [batch.prefill_tokens + batch.decode_requests for batch in working]
        halved = self.halves(list(dict.fromkeys(working)))
        all_tokens = len(tokens) * max(tokens) if halved else self.all_tokens(tokens)
        runs = []
        for batch in dict.fromkeys(batches):
            if batch != NO_WORK:
                runs.append(self.pieces_among(batch, n_steps, all_tokens, halved=halved))
            else:  # a dummy step has no context that grows
                ((_, seconds, _, _),) = self.pieces_among(DUMMY, 1, all_tokens, halved=halved)
                runs.append(((n_steps, seconds, 0.0, 0.0),))
        return longest(runs)


_GRAPH_TOKENS: Final = {"B200": 1024, "B300": 1024, "GB200": 1024, "GB300": 1024}
"""GPU -> tokens of the largest graph, 512 on others (`max_cudagraph_capture_size` of vllm/config/vllm.py)."""


def graph_tokens(gpu: GpuSpec | None) -> int:
    """Return the tokens of the largest step that vLLM captures as a graph on a GPU."""
    return _GRAPH_TOKENS.get(gpu.name, 512) if gpu is not None else 512
