"""How long an engine's host works in a step, as far as its log tells that apart from the model's work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from continuum_sim.validate.steplog import LoggedStep, computes


def host_times(steps: Sequence[LoggedStep]) -> dict[str, Any]:
    """Return medians over the steps that only decode, as plain values for JSON; empty without any.

    `schedule_s` and `process_s` are the scheduler's two calls. While steps are synchronous, `host_s` is all that passes
    between the end of a model's forward pass and the begin of the next, at one request, and `host_request_s` what each
    further request adds: the GPU waits for it. Asynchronous scheduling does this while the model runs, and both are
    left out. What the worker takes to prepare a batch and to launch kernels lies within the model's time in either
    mode, and only shows where it is what the step waits for: as a floor.
    """
    decoding = [step for step in steps if step.batch.decode_requests and not step.batch.prefill_tokens]
    if not decoding:
        return {}
    told: dict[str, Any] = {
        "schedule_s": median(step.scheduled_s - step.start_s for step in decoding),
        "process_s": median(step.end_s - step.ran_s for step in decoding),
        "steps": len(decoding),
    }
    outside_s: dict[int, list[float]] = defaultdict(list)
    for before, step in pairwise(steps):
        follows = before.unfinished > 0 and computes(before.batch) and step.start_s >= before.end_s
        if follows and step.batch.decode_requests and not step.batch.prefill_tokens:
            seconds = step.end_s - before.end_s - (step.ran_s - step.scheduled_s)
            outside_s[step.batch.decode_requests].append(seconds)
    if sum(map(len, outside_s.values())) < len(decoding) / 2:  # planned while others ran
        return told
    each = {requests: median(seconds) for requests, seconds in outside_s.items()}
    more_s = 0.0 if len(each) < 2 else max(0.0, float(np.polyfit(list(each), list(each.values()), 1)[0]))
    told["host_s"] = max(0.0, median(seconds - more_s * (requests - 1) for requests, seconds in each.items()))
    told["host_request_s"] = more_s
    return told
