"""AIPerf's `profile_export.jsonl`: records as docs/tutorials/working-with-profile-exports.md of AIPerf shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded import read_recorded, run_backtest
from support.recorded_logs import ENGINE, NAMES, Row, requests, simulated_rows, write_lines
from support.steptimes import affine

START_NS = 1759813207532900363


def record(number: int = 0, start_s: float = 0.0, ttft_s: float = 0.25, end_s: float = 0.75, **more: Any) -> Row:
    start_ns = START_NS + round(start_s * 1e9)
    return {
        "metadata": {
            "session_num": number,
            "x_request_id": f"7609a2e7-aa53-4ab1-98f4-{number:012}",
            "x_correlation_id": f"32ee4f33-cfca-4cfc-988f-{number:012}",
            "conversation_id": "77aa5b0e-b305-423f-88d5-c00da1892599",
            "turn_index": more.pop("turn_index", 0),
            "request_start_ns": start_ns,
            "request_ack_ns": start_ns + 1000,
            "request_end_ns": start_ns + round(end_s * 1e9),
            "worker_id": "worker_359d423a",
            "record_processor_id": "record_processor_1fa47cd7",
            "benchmark_phase": more.pop("phase", "profiling"),
            "was_cancelled": False,
            "cancellation_time_ns": None,
        },
        "metrics": {
            "input_sequence_length": {"value": 550, "unit": "tokens"},
            "time_to_first_token": {"value": ttft_s * 1e3, "unit": "ms"},
            "request_latency": {"value": end_s * 1e3, "unit": "ms"},
            "output_token_count": {"value": 7, "unit": "tokens"},
            "output_sequence_length": {"value": 9, "unit": "tokens"},
            "inter_token_latency": {"value": 62.5, "unit": "ms"},
            **more,
        },
        "error": None,
    }


FAILED: Row = {
    **record(7),
    "metrics": {"error_isl": {"value": 550, "unit": "tokens"}},
    "error": {"code": 499, "type": "RequestCancellationError", "message": "Request was cancelled after 0.000 seconds"},
}


def test_records_become_requests(tmp_path: Path) -> None:
    rows = [record(1, 2.0), record(0), FAILED, record(8, -5.0, phase="warmup"), record(2, 3.0, turn_index=1)]
    log = read_recorded(write_lines(tmp_path / "profile_export.jsonl", rows))
    assert log.format == "aiperf"
    assert [one.request_id[-1] for one in log.requests] == ["0", "1", "2"]
    assert [one.arrival_s for one in log.requests] == pytest.approx([0, 2, 3], abs=1e-6)
    first = log.requests[0]
    assert (first.first_token_s, first.last_token_s) == pytest.approx((0.25, 0.75), abs=1e-6)
    assert (first.input_tokens, first.output_tokens) == (550, 9), "with the tokens of its reasoning"
    said = "\n".join(log.notes)
    for words in ("1 of 4 requests failed", "1 requests warmed", "1 requests go on with a conversation"):
        assert words in said


def test_the_servers_own_counts_come_first(tmp_path: Path) -> None:
    usage = {name: {"value": value, "unit": "tokens"} for name, value in SERVER.items()}
    one = read_recorded(write_lines(tmp_path / "p.jsonl", [record(**usage)])).requests[0]
    assert (one.input_tokens, one.output_tokens) == (561, 10)


SERVER = {"usage_prompt_tokens": 561, "usage_completion_tokens": 10}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            record(time_to_first_token=None),
            "metrics.time_to_first_token is null, expected a time: benchmark",
        ),
        (
            record(request_latency={"value": 1, "unit": "h"}),
            'metrics.request_latency.unit is "h", expected one of ns, us, ms, sec, s',
        ),
        (record(ttft_s=0.0), "metrics.time_to_first_token.value is 0.0, expected a first token after"),
        (record(end_s=0.25), "metrics.request_latency.value is 250.0, expected a last token after the first"),
        (record(input_sequence_length={"value": 0}), "metrics.input_sequence_length.value is 0, expected a whole"),
        (record(input_sequence_length=None), "metrics.input_sequence_length.value is missing, expected a whole"),
        ({**record(), "metadata": {"request_start_ns": "x"}}, 'metadata.request_start_ns is "x", expected a finite'),
    ],
)
def test_a_wrong_value_is_refused_with_line_and_field(tmp_path: Path, row: Row, said: str) -> None:
    path = write_lines(tmp_path / "p.jsonl", [record(), row])
    with pytest.raises(TraceError) as refused:
        read_recorded(path)
    assert str(refused.value).startswith(f"{path}:2: {said}")


@pytest.mark.parametrize("mark", ["was_cancelled", "context_overflow_skip"])
def test_what_nobody_answered_is_no_request(tmp_path: Path, mark: str) -> None:
    unserved = record(1)
    unserved["metadata"][mark] = True
    log = read_recorded(write_lines(tmp_path / "p.jsonl", [record(), {**unserved, "metrics": {}}]))
    assert len(log.requests) == 1
    assert log.notes[0].startswith("1 of 2 requests failed")


def test_nothing_but_failures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="all 1 requests failed"):
        read_recorded(write_lines(tmp_path / "p.jsonl", [FAILED]))


def test_the_simulators_own_run_is_found_again(tmp_path: Path) -> None:
    rows = []
    for number, row in enumerate(simulated_rows(requests())):
        start_s = row["queued_ts"]
        tokens = {"input_sequence_length": row["input_toks"], "output_sequence_length": row["output_toks"]}
        lengths = {name: {"value": value, "unit": "tokens"} for name, value in tokens.items()}
        rows.append(record(number, start_s, row["first_token_ts"] - start_s, row["last_token_ts"] - start_s, **lengths))
    path = write_lines(tmp_path / "profile_export.jsonl", rows)
    report = run_backtest(path, step_time=affine(), tolerance=1e-4, **NAMES, **ENGINE)
    assert report.passed
    assert report.source.format == "aiperf"
