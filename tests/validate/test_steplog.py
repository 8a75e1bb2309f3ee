"""The step log, and what counts as a step's time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from continuum_sim.steptime.batch import StepBatch
from continuum_sim.validate.steplog import LoggedStep, entering, read_steps, scheduled_batch, step_line, time_steps

DECODE = StepBatch(0, 0, 0, 0, 2, 100)
NOTHING = StepBatch(0, 0, 0, 0, 0, 0)


def step(start_s: float, end_s: float, unfinished: int = 1, batch: StepBatch = DECODE) -> LoggedStep:
    return LoggedStep(start_s, start_s, end_s, end_s, batch, unfinished)


def test_a_busy_step_counts_from_the_end_of_the_one_before() -> None:
    timed = time_steps([step(0.0, 1.0), step(1.2, 2.0), step(2.1, 3.0)])
    assert [one.seconds for one in timed] == pytest.approx([1.0, 1.0, 1.0])


def test_after_a_pause_a_step_counts_from_its_own_start() -> None:
    timed = time_steps([step(0.0, 1.0, unfinished=0), step(5.0, 6.5)])
    assert [one.seconds for one in timed] == pytest.approx([1.0, 1.5])


def test_steps_that_compute_nothing_are_no_samples_and_no_beginnings() -> None:
    timed = time_steps([step(0.0, 1.0), step(1.0, 1.1, batch=NOTHING), step(4.0, 4.5)])
    assert [one.seconds for one in timed] == pytest.approx([1.0, 0.5])


def test_steps_scheduled_ahead_count_from_end_to_end() -> None:
    timed = time_steps([step(0.0, 1.0), step(0.4, 2.1), step(1.5, 3.0)])
    assert [one.seconds for one in timed] == pytest.approx([1.0, 1.1, 0.9])


def test_a_step_planned_ahead_follows_at_once_even_if_nothing_was_left() -> None:
    timed = time_steps([step(0.0, 1.0, unfinished=0), step(0.5, 2.0, unfinished=0), step(2.1, 3.0)])
    assert [one.seconds for one in timed] == pytest.approx([1.0, 1.0, 0.9])


def test_an_empty_step_planned_ahead_holds_up_none_after_it() -> None:
    """vLLM plans the next one a millisecond later, but the engine had work all the time."""
    timed = time_steps([step(0.0, 1.0), step(0.5, 1.1, batch=NOTHING), step(1.05, 2.0)])
    assert [one.seconds for one in timed] == pytest.approx([1.0, 1.0])
    # Unless nothing was left, or another empty step shows that nothing could run.
    timed = time_steps([step(0.0, 1.0, 0), step(0.5, 1.1, 0, NOTHING), step(1.5, 2.0)])
    assert [one.seconds for one in timed] == pytest.approx([1.0, 0.5])
    timed = time_steps([step(0.0, 1.0), step(0.5, 1.1, 1, NOTHING), step(1.1, 1.2, 1, NOTHING), step(1.5, 2.0)])
    assert [one.seconds for one in timed] == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("runner", [1, 2])
def test_a_resumed_request_prefills_wherever_vllm_lists_it(runner: int) -> None:
    """Model Runner V1 lists it among the known requests, V2 among the new ones."""
    requests = {
        "new": SimpleNamespace(num_computed_tokens=64, num_prompt_tokens=100),
        "decodes": SimpleNamespace(num_computed_tokens=41, num_prompt_tokens=40),
        # All but the last of its tokens was still in the cache.
        "resumed": SimpleNamespace(num_computed_tokens=65, num_prompt_tokens=50),
    }
    output = SimpleNamespace(
        scheduled_new_reqs=[SimpleNamespace(req_id=name) for name in ("new", "resumed")[:runner]],
        scheduled_cached_reqs=SimpleNamespace(resumed_req_ids={"resumed"} if runner == 1 else set()),
    )
    batch = scheduled_batch(requests, {"new": 64, "decodes": 1, "resumed": 1}, entering(output))
    assert (batch.prefill_requests, batch.prefill_tokens, batch.prefill_context_tokens) == (2, 65, 64)
    assert (batch.decode_requests, batch.decode_context_tokens) == (1, 41)


def test_drafts_are_rows_that_read_a_context_once() -> None:
    """As in the simulator; a resumed request that computes as many tokens of its answer again is prefilling."""
    requests = {
        "drafts": SimpleNamespace(num_computed_tokens=54, num_prompt_tokens=40),
        "again": SimpleNamespace(num_computed_tokens=54, num_prompt_tokens=40),
    }
    batch = scheduled_batch(requests, {"drafts": 4, "again": 4}, (), {"drafts": [1, 2, 3]})
    assert batch == StepBatch(1, 4, 50, 4 * 50 + 10, 4, 54)


def test_only_steps_that_end_after_the_start_count() -> None:
    timed = time_steps([step(0.0, 1.0), step(1.0, 2.0)], start_s=1.5)
    assert [(one.end_s, one.seconds) for one in timed] == [(2.0, 1.0)]


def test_a_log_is_read_back_without_a_line_that_was_cut_off(tmp_path: Path) -> None:
    steps = [step(0.0, 1.0), step(1.0, 2.0, 3, StepBatch(1, 7, 64, 500, 2, 90))]
    path = tmp_path / "steps.jsonl"
    path.write_bytes(b"".join(map(step_line, steps)) + step_line(steps[0])[:20])
    assert read_steps(path) == steps
    assert isinstance(read_steps(path)[1].batch, StepBatch)
