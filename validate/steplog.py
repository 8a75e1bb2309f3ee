"""The step log: what every step of a real engine computed and how long it took, written by the engine itself."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from continuum_sim.errors import ConfigError
from continuum_sim.readers import read_lines
from continuum_sim.steptime.batch import StepBatch, prefill_pairs

ENVIRONMENT: Final = "CONTINUUM_SIM_STEP_LOG"
"""Variable that holds the log's settings as JSON, because vLLM hashes `additional_config` (see `plugin.settings`)."""

SCHEDULER_CLS: Final = "continuum_sim.validate.engines.timed_scheduler.make_timed_scheduler"
"""Value of `scheduler_cls` for an engine that logs its steps."""


class LoggedStep(NamedTuple):
    """One line of the log. Times in seconds on the machine's monotonic clock."""

    start_s: float
    """When scheduling began."""
    scheduled_s: float
    """When scheduling ended and the model began."""
    ran_s: float
    """When the model's output was there."""
    end_s: float
    """When its results were processed: turns have ended, the next step may be scheduled."""
    batch: StepBatch
    unfinished: int
    """Requests still in the engine after the step."""
    verified: Mapping[str, tuple[int, int]] = MappingProxyType({})
    """With speculative decoding: by decoding request, the drafts that the step verified, and those accepted."""


class TimedStep(NamedTuple):
    """A step that computed something, with the time the engine was busy with it."""

    end_s: float
    seconds: float
    batch: StepBatch


def scheduled_batch(
    requests: Mapping[str, Any],
    scheduled_tokens: Mapping[str, int],
    entering: Container[str] = (),
    drafts: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> StepBatch:
    """Summarise a scheduled step as the simulator does; vLLM has already advanced `num_computed_tokens` past it.

    A request decodes if the only token it lacks is the one it sampled last. A request resumed after preemption (it is
    among those `entering`) is prefilling, even if all but its last token was still in the cache. Each of its `drafts`
    is a row like a decoding request's, and its rows read its context once.
    """
    prefills = tokens = context = pairs = decodes = decode_context = 0
    decoding = set(decoding_requests(requests, scheduled_tokens, entering, drafts))
    for name, chunk in scheduled_tokens.items():
        start = requests[name].num_computed_tokens - chunk
        if name in decoding:
            rows = 1 + len(drafts.get(name, ()))
            decodes += rows
            decode_context += start + rows
        else:
            prefills += 1
            tokens += chunk
            context += start
            pairs += prefill_pairs(chunk, start)
    return StepBatch(prefills, tokens, context, pairs, decodes, decode_context)


def decoding_requests(
    requests: Mapping[str, Any],
    scheduled_tokens: Mapping[str, int],
    entering: Container[str],
    drafts: Mapping[str, Sequence[int]],
) -> list[str]:
    """Return the requests of a scheduled step that decode."""
    return [
        name
        for name, chunk in scheduled_tokens.items()
        if chunk == 1 + len(drafts.get(name, ()))
        and requests[name].num_computed_tokens - chunk >= requests[name].num_prompt_tokens
        and name not in entering
    ]


def entering(output: Any) -> set[str]:
    """Return the requests that enter the batch in a step, for the first time or after a preemption.

    vLLM's Model Runner V1 lists the latter among the known requests, V2, the default on GPUs, among the new ones.
    """
    return {*output.scheduled_cached_reqs.resumed_req_ids, *(new.req_id for new in output.scheduled_new_reqs)}


def step_line(step: LoggedStep) -> bytes:
    """Return the step as a line of the log."""
    return msgspec.json.encode(step if step.verified else step[:-1]) + b"\n"


def read_steps(path: Path) -> list[LoggedStep]:
    """Read a log back; an incomplete last line is left out."""
    decode = msgspec.json.Decoder(LoggedStep).decode
    steps = []
    for number, line in read_lines(path, "one step"):
        if line.endswith(b"\n"):
            try:
                steps.append(decode(line))
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise ConfigError(f"{path}:{number}: is not a step in this version's format ({error})") from None
    return steps


def time_steps(steps: Sequence[LoggedStep], start_s: float = 0.0) -> list[TimedStep]:
    """Return how long the engine was busy with each step that ended after `start_s`; see `begins`."""
    return [
        TimedStep(step.end_s, step.end_s - begin_s, step.batch)
        for step, begin_s in zip(steps, begins(steps), strict=True)
        if computes(step.batch) and step.end_s > start_s
    ]


def begins(steps: Sequence[LoggedStep]) -> list[float]:
    """Return when the engine became busy with each step.

    While work is left that is the end of the step before: the time until the next end is the model's, and whatever the
    engine's loop does between two forward passes. After a pause, or a step that computed nothing, it is the start of
    the step's own scheduling. Asynchronous scheduling plans a step while another runs: if the earlier one computes
    something, the later begins at its end; if the later computes nothing, it holds up none after it.
    """
    found = []
    computed_s, work_left = -math.inf, False
    for step in steps:
        ahead = step.start_s < computed_s
        found.append(computed_s if ahead or work_left else step.start_s)
        if computes(step.batch):
            computed_s, work_left = step.end_s, step.unfinished > 0
        elif not ahead:
            work_left = False
    return found


def computes(batch: StepBatch) -> bool:
    """Return True if a step had anything to compute."""
    return batch.prefill_tokens + batch.decode_requests > 0
