"""How long a step takes in each stage of a pipeline, and when it leaves the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.steptime.batch import StepBatch, grown, prefill_of
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.piped import no_send_s

_SENT_TOKENS: Final = (1, 1024, 8192)
"""Tokens of the steps for which a description says how long they take to hand on."""


class StageTimes:
    """The step times of the stages, each those of its own layers; a `StepTime` of a lone batch.

    `step_s` is the time from the first stage to the last. A run of prompt chunks fills the pipeline, as chunk after
    chunk follows; steps that decode wait for each other's tokens.
    """

    def __init__(self, stages: Sequence[StepTime], send_s: Callable[[StepBatch], float] = no_send_s) -> None:
        """Join stages, first to last.

        Parameters
        ----------
        send_s
            Returns the seconds to hand a step's activations from one stage to the next.
        """
        self.stages = tuple(stages)
        self.send_s = send_s

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step, through all stages."""
        return self.run_s(batch, 1)

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps of the same turns, from the first one's start to the last one's end."""
        pipeline, end_s = Pipeline(self), 0.0
        for step in range(n_steps):
            one = grown(batch, step)
            end_s = pipeline.enter(one, end_s if one.decode_requests else 0.0)
        return end_s

    def prompt_s(self, tokens: int, chunk_tokens: int) -> float:
        """Seconds to prefill a prompt alone, chunk after chunk."""
        pipeline, end_s = Pipeline(self), 0.0
        for start in range(0, tokens, chunk_tokens):
            end_s = pipeline.enter(prefill_of(min(chunk_tokens, tokens - start), start), 0.0)
        return end_s

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        pipeline, end_s = Pipeline(self), 0.0
        for step in range(n_steps):
            one = grown(batch, step)
            end_s = pipeline.enter(one, end_s if one.decode_requests else 0.0)
            if end_s >= elapsed_s:
                return step + 1
        return n_steps

    def describe(self) -> dict[str, Any]:
        """Name, the stages' own descriptions and the seconds to hand few and many tokens on, for the manifest."""
        sent_s = {str(tokens): self.send_s(prefill_of(tokens)) for tokens in _SENT_TOKENS}
        return {"model": "stages", "stages": [stage.describe() for stage in self.stages], "send_s": sent_s}


class Pipeline:
    """The stages and when each is free.

    A step enters a stage once it has left the one before, and the step before it has left this one.
    """

    def __init__(self, times: StageTimes) -> None:
        self._times = times
        self._free_s = [0.0] * len(times.stages)
        self.busy_s = [0.0] * len(times.stages)
        """Seconds that each stage has computed: what is left of a run are bubbles."""
        self._sampled: deque[tuple[int, float]] = deque()

    def enter(self, batch: StepBatch, ready_s: float) -> float:
        """Let a step enter the first stage at `ready_s` or later; return when it leaves the last."""
        free_s, at_s = self._free_s, ready_s
        send_s = self._times.send_s(batch)
        for number, stage in enumerate(self._times.stages):
            if number:
                at_s += send_s
            if free_s[number] > at_s:
                at_s = free_s[number]
            stage_s = stage.step_s(batch)
            at_s += stage_s
            free_s[number] = at_s
            self.busy_s[number] += stage_s
        return at_s

    def tokens_ready_s(self, call: int) -> float:
        """Return when the tokens are there that the first stage waits for in the step of a call of `schedule`.

        With steps planned ahead vLLM's model runner V2 waits for the tokens of the step so many calls before as there
        are stages (`PPHandler.get_prev_sampled_outputs`); without, the scheduler itself has waited for them.
        """
        ready_s, last = 0.0, call - len(self._free_s)
        while self._sampled and self._sampled[0][0] <= last:
            ready_s = self._sampled.popleft()[1]
        return ready_s

    def samples(self, call: int, end_s: float) -> None:
        """Note that the step of a call of `schedule` has its tokens at `end_s`."""
        self._sampled.append((call, end_s))


def stage_times(step_time: StepTime, stages: int) -> StageTimes:
    """Return the stages of a step-time model.

    Raises
    ------
    ConfigError
        If it has another number of them.
    """
    has = len(step_time.stages) if isinstance(step_time, StageTimes) else 1
    if not isinstance(step_time, StageTimes) or has != stages:
        raise ConfigError(
            f"pipeline_parallel_size is {stages}, but the step-time model has {has}: give `StageTimes` of each stage"
        )
    return step_time
