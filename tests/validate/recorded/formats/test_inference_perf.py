"""inference-perf's `per_request_lifecycle_metrics.json`, as today's version writes it and as earlier ones did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded import read_recorded, run_backtest
from support.recorded_logs import ENGINE, NAMES, Row, requests, simulated_rows
from support.steptimes import affine

CLOCK_S = 1393.25
"""Its times are of a monotonic clock."""


def request(start_s: float = 0.0, first_s: float = 0.25, last_s: float = 0.75, **response: Any) -> Row:
    at_s = CLOCK_S + start_s
    return {
        "start_time": at_s,
        "end_time": at_s + last_s + 0.001,
        "request": json.dumps({"model": "meta-llama/Llama-3.1-8B", "prompt": "…", "max_tokens": 10, "stream": True}),
        "response": "data: …",
        "info": {
            "request_metrics": {"text": {"input_tokens": response.pop("input_tokens", 591)}},
            "response_metrics": {
                "output_tokens": 9,
                "server_usage": {"prompt_tokens": 592, "completion_tokens": 10, "total_tokens": 602},
                "response_chunks": [],
                "chunk_times": [at_s + first_s, at_s + last_s],
                "output_token_times": [at_s + first_s, at_s + last_s],
                **response,
            },
            "lora_adapter": None,
            "input_tokens": 591,
        },
        "error": None,
    }


def older(start_s: float = 0.0) -> Row:
    at_s = CLOCK_S + start_s
    info = {"input_tokens": 591, "output_tokens": 10, "output_token_times": [at_s + 0.25, at_s + 0.5, at_s + 0.75]}
    return {"start_time": at_s, "end_time": at_s + 0.76, "request": "{}", "response": "…", "info": info, "error": None}


FAILED: Row = {**request(), "info": {}, "error": {"error_type": "HTTP Error 503", "error_msg": "busy"}}


def write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", [request, older])
def test_requests_of_either_version(tmp_path: Path, row: Any) -> None:
    log = read_recorded(write(tmp_path / "per_request_lifecycle_metrics.json", [row(2.0), FAILED, row(0.0)]))
    assert log.format == "inference-perf"
    assert [one.request_id for one in log.requests] == ["request-2", "request-0"]
    second = log.requests[1]
    assert (second.arrival_s, second.first_token_s, second.last_token_s) == pytest.approx((2, 2.25, 2.75))
    assert (second.input_tokens, second.output_tokens) == (591, 10), "the server's count of tokens, if there is one"
    assert log.notes[0].startswith("1 of 3 requests failed")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (request(output_token_times=[]), "response_metrics.output_token_times is an array, expected a time for every"),
        (request(output_token_times=None), "output_token_times is null, expected an array"),
        (request(output_token_times=["x", 1]), 'response_metrics.output_token_times[0] is "x", expected a finite'),
        (request(first_s=-1.0), "response_metrics.output_token_times[0] is 1392.25, expected a first token after"),
        (request(last_s=0.25), "response_metrics.output_token_times[1] is 1393.5, expected a last token after the"),
        (request(input_tokens=0), "request_metrics.text.input_tokens is 0, expected a whole number of tokens"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(tmp_path: Path, row: Row, said: str) -> None:
    path = write(tmp_path / "p.json", [request(), row])
    with pytest.raises(TraceError) as refused:
        read_recorded(path)
    assert str(refused.value).startswith(f"{path}: [1].info.{said}")


@pytest.mark.parametrize(
    ("text", "said"), [("{}", "is no array"), ("[3]", r"\[0\] is 3, expected an object"), ("[", "not valid JSON")]
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(TraceError, match=said):
        read_recorded(tmp_path / "p.json", "inference-perf")


def test_the_simulators_own_run_is_found_again(tmp_path: Path) -> None:
    rows = []
    for row in simulated_rows(requests()):
        start_s = row["queued_ts"]
        ends_s = row["first_token_ts"] - start_s, row["last_token_ts"] - start_s
        counts = {"input_tokens": row["input_toks"], "server_usage": {"completion_tokens": row["output_toks"]}}
        rows.append(request(start_s, *ends_s, **counts))
    path = write(tmp_path / "per_request_lifecycle_metrics.json", rows)
    found = run_backtest(path, step_time=affine(), tolerance=1e-4, **NAMES, **ENGINE)
    assert found.passed
    assert found.source.format == "inference-perf"
