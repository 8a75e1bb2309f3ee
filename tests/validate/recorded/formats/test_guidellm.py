"""GuideLLM's `benchmarks.json`, of today's schema (`GenerativeRequestStats`) and of the one before 0.4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded import read_recorded, run_backtest
from support.recorded_logs import ENGINE, NAMES, Row, requests, simulated_rows
from support.steptimes import affine

START_S = 1759813207.5


def request(number: int = 0, start_s: float = 0.0, first_s: float = 0.25, last_s: float = 0.75, **more: Any) -> Row:
    """Return a request as GuideLLM 0.4 and later write it; times of tokens are counted from its start."""
    at_s = START_S + start_s
    timings = {
        "targeted_start": at_s - 0.01,
        "resolve_start": at_s - 0.001,
        "request_start": at_s,
        "first_request_iteration": at_s + first_s - 0.001,
        "first_token_iteration": at_s + first_s,
        "last_token_iteration": at_s + last_s,
        "request_iterations": 12,
        "token_iterations": 10,
        "request_end": at_s + last_s + 0.002,
        "resolve_end": at_s + last_s + 0.003,
        **more.pop("timings", {}),
    }
    return {
        "type_": "generative_request_stats",
        "request_id": f"0a1b-{number}",
        "output": "…",
        "info": {"request_id": f"0a1b-{number}", "status": "completed", "timings": timings, "error": None},
        "input_metrics": {"text_tokens": 256},
        "output_metrics": {"text_tokens": 10},
        "request_start_time": at_s,
        "request_end_time": at_s + last_s + 0.002,
        "request_latency": last_s + 0.002,
        "prompt_tokens": 256,
        "output_tokens": 10,
        "time_to_first_token_ms": 1000 * first_s,
        **more,
    }


def older(number: int = 0, start_s: float = 0.0) -> Row:
    """Return a request as GuideLLM 0.2 and 0.3 write it."""
    at_s = START_S + start_s
    return {
        "type_": "generative_text_response",
        "request_id": f"0a1b-{number}",
        "request_type": "text_completions",
        "scheduler_info": {"requested": True, "completed": True, "errored": False, "canceled": False},
        "prompt": "…",
        "output": "…",
        "prompt_tokens": 256,
        "output_tokens": 10,
        "start_time": at_s,
        "end_time": at_s + 0.752,
        "first_token_time": at_s + 0.25,
        "last_token_time": at_s + 0.75,
    }


def report(successful: list[Row], strategy: str = "constant", **more: Any) -> Row:
    benchmark = {
        "type_": "generative_benchmark",
        "config": {
            "run_index": 0,
            "strategy": {"type_": strategy, "rate": 6.0},
            "backend": {"type_": "openai_http", "model": "meta-llama/Llama-3.1-8B"},
        },
        "metrics": {"request_totals": {"successful": len(successful), "incomplete": 0, "errored": 0}},
        "requests": {"successful": successful, "incomplete": [], "errored": [], "total": None},
        **more,
    }
    return {"type_": "generative_benchmarks_report", "metadata": {"version": 1}, "args": {}, "benchmarks": [benchmark]}


def write(path: Path, value: Row) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", [request, older])
def test_requests_of_either_schema(tmp_path: Path, row: Any) -> None:
    log = read_recorded(write(tmp_path / "benchmarks.json", report([row(1, 2.0), row(0)])))
    assert log.format == "guidellm"
    assert [one.request_id for one in log.requests] == ["0a1b-0", "0a1b-1"]
    first, second = log.requests
    assert (second.arrival_s, second.first_token_s, second.last_token_s) == pytest.approx((2, 2.25, 2.75), abs=1e-6)
    assert (first.input_tokens, first.output_tokens) == (256, 10)
    assert log.setup.model == "meta-llama/Llama-3.1-8B"
    assert log.notes == ()


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    ended = {"successful": [request()], "incomplete": [request(1), request(2)], "errored": [request(3)]}
    said = read_recorded(write(tmp_path / "b.json", report([request()], "throughput", requests=ended))).notes
    assert said[0].startswith("1 of 2 requests failed")
    assert said[1].startswith("2 requests were under way when the benchmark ended")
    assert said[2].startswith("recorded with the strategy throughput: the client held requests back")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (request(prompt_tokens=None), "prompt_tokens is null, expected a whole number of tokens"),
        (request(request_start_time="x"), 'request_start_time is "x", expected a finite number'),
        (request(first_s=0.0), f"info.timings.first_token_iteration is {START_S}, expected a first token after"),
        (request(last_s=0.2), f"info.timings.last_token_iteration is {START_S + 0.2}, expected a last token after"),
        (
            request(timings={"first_token_iteration": None}),
            "info.timings.first_token_iteration is null, expected a finite number",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(tmp_path: Path, row: Row, said: str) -> None:
    path = write(tmp_path / "b.json", report([request(), row]))
    with pytest.raises(TraceError) as refused:
        read_recorded(path)
    assert str(refused.value).startswith(f"{path}: requests.successful[1].{said}")


def test_reports_that_are_no_one_run_are_refused(tmp_path: Path) -> None:
    one = report([request()])
    sweep = {**one, "benchmarks": one["benchmarks"] * 2}
    for value, said in (
        (sweep, "benchmarks has 2 elements, expected the one to compare"),
        ({"benchmarks": []}, "benchmarks has 0 elements"),
        ({"benchmarks": [3]}, r"benchmarks\[0\] is 3, expected an object"),
        (report([3]), r"requests.successful\[0\] is 3, expected an object"),  # type: ignore[list-item]
        (report([request()], requests={}), "requests.successful is missing, expected an array"),
        (
            report([request()], metrics={"request_totals": {"successful": 9}}),
            "holds a sample of 1 of 9 requests",
        ),
        (report([older()], request_totals={"successful": 9}), "holds a sample of 1 of 9 requests"),
    ):
        with pytest.raises(TraceError, match=said):
            read_recorded(write(tmp_path / "b.json", value))


def test_the_simulators_own_run_is_found_again(tmp_path: Path) -> None:
    rows = []
    for number, row in enumerate(simulated_rows(requests())):
        start_s = row["queued_ts"]
        ends_s = row["first_token_ts"] - start_s, row["last_token_ts"] - start_s
        rows.append(
            request(number, start_s, *ends_s, prompt_tokens=row["input_toks"], output_tokens=row["output_toks"])
        )
    path = write(tmp_path / "benchmarks.json", report(rows))
    found = run_backtest(path, step_time=affine(), tolerance=1e-4, **NAMES, **ENGINE)
    assert found.passed
    assert found.source.format == "guidellm"
