"""A run as the files of Continuum's own code, so that its authors' analysis can read a simulated run.

Source of the format: the authors' preview code (github.com/Hanchenli/vllm-continuum), as preserved in its public forks
(github.com/Whrlicht/vllm-continuum, github.com/Yeefay613/vllm-continuum-explore): class ``Continuum_Recorder`` of
``vllm/v1/core/estimate_with_func.py`` writes ``scheduler_timestamps``, ``vllm/v1/core/sched/scheduler.py`` says when,
and ``continuum_exp/analyze.py`` makes ``results.json`` of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

from continuum_sim.errors import ConfigError
from continuum_sim.results.decisions import DecisionRecord
from continuum_sim.results.files import DECISIONS, staged_directory
from continuum_sim.results.result import load_run
from continuum_sim.traces.files import whole_text, write_text
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.tracks.pins import PinSpan, pin_spans
from continuum_sim.tracks.rundir import OnShare, TableRows, decisions_of, has_decisions, outlasts_admission

TIMESTAMPS: Final = "scheduler_timestamps"
RESULTS: Final = "results.json"

# Order of events of a turn at the same instant, as the authors' scheduler would write them.
_ARRIVES, _PIN_HIT, _RUNS, _DEPARTS, _PIN_OUTLIVED, _PINNED, _PIN_ENDS = range(7)


class _Torn(Exception):
    """Raised if the decision log and the table of turns do not match."""


Event = dict[str, float | int]


class ExportedHistory(NamedTuple):
    """The files written.

    Attributes
    ----------
    path
        The directory.
    jobs, requests
        Number of programs, where sub-agents count separately, and of their turns.
    logged
        Whether the run has a decision log, the only source of pins and preemptions.
    """

    path: Path
    jobs: int
    requests: int
    logged: bool


def export_continuum(
    run: str | os.PathLike[str], out: str | os.PathLike[str], *, progress: OnShare | None = None
) -> ExportedHistory:
    """Write ``scheduler_timestamps`` and ``results.json`` of a run into a new directory.

    The first is a JSON object: job -> its events in order of time, ``Request_arrival_time``, ``waiting_to_running``
    (with ``prompt_length`` and ``hit_length``, the tokens that need no prefill), ``Request_departure_time`` and, for a
    run with a decision log, ``pinned_time``, ``unpinned_time``, ``Request_evicted_from_running_queue_time`` (preempted)
    and ``evicted_to_running``. Times are seconds from the start of the run, whereas the authors' are seconds since
    1970; their analysis takes differences. As in their files, a pin still held at the end has no ``unpinned_time``.

    The second is what their ``analyze.py`` writes: a job lasts from its first arrival to its last departure.

    Apart from one number per job, memory does not grow with the number of turns.

    Parameters
    ----------
    run
        A run directory.
    out
        The directory to write; it appears once complete.

    Raises
    ------
    ConfigError
        If `run` is not a run directory or lacks its turns, or `out` is in use.
    OSError
        If it cannot be written.
    """
    directory = Path(run)
    result = load_run(directory)
    rows = Groups(by_time=True)
    requests = 0
    for turn in TableRows(result, directory, ("turns",), progress).of("turns"):
        rows.add(turn["program"], ["turn", turn], turn["arrival_s"])
        requests += 1
    logged = has_decisions(directory)
    if logged:
        for decision in decisions_of(directory):
            if decision.event in ("admit", "preempt"):
                rows.add(decision.program, [decision.event, _step(decision)], decision.time_s)
        outlasts = outlasts_admission(result)
        for pin in pin_spans(decisions_of(directory), outlasts_admission=outlasts):
            rows.add(pin.program, ["pin", _pin(pin, outlasts=outlasts)], pin.start_s)
    durations: dict[str, float] = {}
    first_s, last_s = float("inf"), 0.0
    with staged_directory(Path(out)) as staged:
        with whole_text(staged / TIMESTAMPS) as file:
            between = "{"
            for job, found in rows:
                try:
                    events = list(_events(found))
                except _Torn:
                    raise ConfigError(
                        f"{directory}: {DECISIONS} and turns.parquet are not of one run (program {job!r} differs)"
                    ) from None
                arrived_s, departed_s = events[0]["Request_arrival_time"], _last_departure(events)
                durations[job] = departed_s - arrived_s
                first_s, last_s = min(first_s, arrived_s), max(last_s, departed_s)
                file.write(f"{between}\n{json.dumps(job)}: {json.dumps(events, allow_nan=False)}")
                between = ","
            file.write("\n}\n")
        results = {**_statistics(list(durations.values()), last_s - first_s), "job_durations": durations}
        write_text(staged / RESULTS, json.dumps(results, indent=2) + "\n")
    return ExportedHistory(Path(out), len(durations), requests, logged)


def _step(decision: DecisionRecord) -> dict[str, Any]:
    return {"turn": decision.turn, "time_s": decision.time_s, **decision.detail}


def _pin(pin: PinSpan, *, outlasts: bool) -> dict[str, Any]:
    """Return which turns a pin's two events belong to, and when; no second event if the run ended before the pin."""
    ended: list[Any] | None = [pin.end_s, pin.turn, _PIN_ENDS]
    if pin.end == "hit":
        ended = [pin.end_s, pin.turn + 1, _PIN_OUTLIVED if outlasts else _PIN_HIT]
    elif pin.end == "held":
        ended = None
    return {"turn": pin.turn, "start_s": pin.start_s, "ended": ended}


def _events(rows: Sequence[Sequence[Any]]) -> Iterator[Event]:
    """Yield the events of one job in order."""
    steps: dict[int, list[tuple[str, Mapping[str, Any]]]] = {}
    for kind, row in rows:
        if kind not in ("turn", "pin"):
            steps.setdefault(row["turn"], []).append((kind, row))
    timed: list[tuple[float, int, int, Event]] = []
    for kind, row in rows:
        turn = row["turn"]
        if kind == "turn":
            timed.append((row["arrival_s"], turn, _ARRIVES, {"Request_arrival_time": row["arrival_s"]}))
            # Events while the turn runs share one rank: the stable sort keeps them in the order of the log.
            timed += [(at_s, turn, _RUNS, event) for at_s, event in _runs(row, steps.get(turn, ()))]
            timed.append((row["finish_s"], turn, _DEPARTS, {"Request_departure_time": row["finish_s"]}))
        elif kind == "pin":
            timed.append((row["start_s"], turn, _PINNED, {"pinned_time": row["start_s"]}))
            if row["ended"] is not None:
                end_s, place, rank = row["ended"]
                timed.append((end_s, place, rank, {"unpinned_time": end_s}))
    timed.sort(key=lambda one: one[:3])
    if not timed or timed[0][2] != _ARRIVES:
        raise _Torn
    yield from (event for *_, event in timed)


def _runs(turn: Mapping[str, Any], steps: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[float, Event]]:
    """Yield when a turn moved from the queue into the batch and back."""
    admissions: list[tuple[float, int]] = []
    evictions: list[float] = []
    for kind, step in steps:
        if kind == "admit":
            admissions.append((step["time_s"], step["cached_tokens"]))
        else:
            evictions.append(step["time_s"])
    # Either way, hits include tokens from a memory tier, as vLLM counts what a connector loads.
    hit = admissions[0][1] if admissions else turn["cached_tokens"] + turn.get("reloaded_tokens", 0)
    prompt = turn["prompt_tokens"]
    yield turn["scheduled_s"], _running("waiting_to_running", turn["scheduled_s"], prompt, hit)
    # The last token of a turn may have been on its way when it was preempted: then it never runs again.
    if len(evictions) not in (len(admissions), max(0, len(admissions) - 1)):
        raise _Torn
    for evicted_s, again in zip_longest(evictions, admissions[1:]):
        yield evicted_s, {"Request_evicted_from_running_queue_time": evicted_s}
        if again is not None:
            back_s, hit_again = again
            yield back_s, _running("evicted_to_running", back_s, prompt, hit_again)


def _running(name: str, at_s: float, prompt_tokens: int, hit_tokens: int) -> Event:
    return {name: at_s, "prompt_length": prompt_tokens, "hit_length": hit_tokens}


def _last_departure(events: Iterable[Event]) -> float:
    return max(event["Request_departure_time"] for event in events if "Request_departure_time" in event)


def _statistics(durations_s: Sequence[float], total_s: float) -> dict[str, float | int]:
    import numpy as np

    # The authors' percentiles interpolate linearly between samples, as NumPy's do.
    return {
        "num_jobs": len(durations_s),
        "average_duration": sum(durations_s) / len(durations_s),
        "total_duration": total_s,
        "min_duration": min(durations_s),
        "max_duration": max(durations_s),
        "median_duration": float(np.median(durations_s)),
        "percentile_95": float(np.percentile(durations_s, 95)),
        "percentile_99": float(np.percentile(durations_s, 99)),
    }
