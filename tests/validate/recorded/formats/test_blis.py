"""BLIS's `trace_data.csv` as `blis observe` writes it, with the columns of today and those of its first version."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded import read_recorded, run_backtest
from support.recorded_logs import ENGINE, NAMES, requests, simulated_rows
from support.steptimes import affine

COLUMNS = (
    "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,prefix_length,streaming,input_tokens,"
    "output_tokens,text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,"
    "server_input_tokens,arrival_time_us,send_time_us,first_chunk_time_us,last_chunk_time_us,num_chunks,status,"
    "error_message,finish_reason"
)
FIRST_COLUMNS = (
    "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,streaming,input_tokens,output_tokens,"
    "text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,arrival_time_us,send_time_us,first_chunk_time_us,"
    "last_chunk_time_us,num_chunks"
)
START_US = 1759813207_500000


def row(
    number: int = 0, start_s: float = 0.0, first_s: float = 0.25, last_s: float = 0.75, **more: Any
) -> dict[str, str]:
    sent_us = START_US + round(start_s * 1e6)
    values = {
        "request_id": number,
        "client_id": "c1",
        "tenant_id": "t1",
        "slo_class": "standard",
        "round_index": 0,
        "prefix_length": 0,
        "streaming": "true",
        "input_tokens": 512,
        "output_tokens": 128,
        "text_tokens": 512,
        "reason_ratio": "0.0",
        "model": "meta-llama/Llama-3.1-8B",
        "deadline_us": 0,
        "server_input_tokens": 520,
        "arrival_time_us": sent_us - 45,
        "send_time_us": sent_us,
        "first_chunk_time_us": sent_us + round(first_s * 1e6),
        "last_chunk_time_us": sent_us + round(last_s * 1e6),
        "num_chunks": 47,
        "status": "ok",
        "finish_reason": "length",
        **more,
    }
    return {name: str(value) for name, value in values.items()}


def write(path: Path, rows: Iterable[dict[str, str]], columns: str = COLUMNS) -> Path:
    lines = [columns, *(",".join(one.get(name, "") for name in columns.split(",")) for one in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("columns", "prompt"), [(COLUMNS, 520), (FIRST_COLUMNS, 512)])
def test_rows_become_requests(tmp_path: Path, columns: str, prompt: int) -> None:
    log = read_recorded(write(tmp_path / "trace_data.csv", [row(1, 2.0), row(0)], columns))
    assert log.format == "blis"
    assert [one.request_id for one in log.requests] == ["0", "1"]
    second = log.requests[1]
    assert (second.arrival_s, second.first_token_s, second.last_token_s) == pytest.approx((2, 2.25, 2.75), abs=1e-6)
    assert (second.input_tokens, second.output_tokens) == (prompt, 128)
    assert log.setup.model == ("meta-llama/Llama-3.1-8B" if "model" in columns else None)


def test_what_is_left_out_or_not_known_is_said(tmp_path: Path) -> None:
    rows = [row(0), row(1, status="timeout", error_message="late"), row(2, prefix_group="p"), row(3, round_index=2)]
    log = read_recorded(write(tmp_path / "t.csv", [*rows, row(4, server_input_tokens=0)]))
    assert log.notes[0].startswith("1 of 5 requests failed")
    assert log.notes[1].startswith("2 requests share a prefix with others or go on with a session")
    assert log.requests[-1].input_tokens == 512


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"first_chunk_time_us": 0}, "first_chunk_time_us is 0, expected when a server answered: the trace was gen"),
        ({"first_chunk_time_us": ""}, "first_chunk_time_us is missing, expected a finite number"),
        ({"send_time_us": "x"}, 'send_time_us is "x", expected a finite number'),
        ({"first_s": -1.0}, "first_chunk_time_us is 1759813206500000, expected a first token after"),
        ({"last_s": 0.2}, "last_chunk_time_us is 1759813207700000, expected a last token after the first"),
        ({"output_tokens": "1.5"}, 'output_tokens is "1.5", expected a whole number of tokens'),
    ],
)
def test_a_wrong_value_is_refused_with_line_and_column(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "t.csv", [row(), row(1, **change)])
    with pytest.raises(TraceError) as refused:
        read_recorded(path)
    assert str(refused.value).startswith(f"{path}:3: {said}")


def test_the_simulators_own_run_is_found_again(tmp_path: Path) -> None:
    rows = []
    for number, one in enumerate(simulated_rows(requests())):
        start_s = one["queued_ts"]
        ends_s = one["first_token_ts"] - start_s, one["last_token_ts"] - start_s
        lengths = {"server_input_tokens": one["input_toks"], "output_tokens": one["output_toks"]}
        rows.append(row(number, start_s, *ends_s, **lengths))
    path = write(tmp_path / "trace_data.csv", rows)
    found = run_backtest(path, step_time=affine(), tolerance=1e-4, **NAMES, **ENGINE)
    assert found.passed
    assert found.source.format == "blis"
