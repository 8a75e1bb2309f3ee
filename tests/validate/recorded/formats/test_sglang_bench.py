"""SGLang's `bench_serving --output-details`: one result a line, as `save_results` writes it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.schema import Program, Turn
from continuum_sim.validate.recorded import read_recorded, run_backtest
from support.recorded_logs import ENGINE, NAMES, Row, bench_result, simulated_rows
from support.steptimes import affine


def result(**more: Any) -> Row:
    """Return three requests of 0.25 s to the first token and 0.5 s more to the last of 10."""
    return {
        "tag": None,
        "backend": "sglang",
        "dataset_name": "random",
        "request_rate": math.inf,
        "max_concurrency": None,
        "sharegpt_output_len": None,
        "random_input_len": 1024,
        "random_output_len": 1024,
        "random_range_ratio": 0.5,
        "duration": 0.8,
        "completed": 3,
        "total_input_tokens": 1500,
        "total_output_tokens": 30,
        "total_output_tokens_retokenized": 30,
        "request_throughput": 3.75,
        "mean_ttft_ms": 250.0,
        "concurrency": 2.8,
        "accept_length": None,
        "input_lens": [400, 500, 600],
        "output_lens": [10, 10, 10],
        "ttfts": [0.25, 0.25, 0.25],
        "itls": [[0.05] * 10] * 3,
        "generated_texts": ["…"] * 3,
        "errors": ["", "", ""],
        **more,
    }


def write(path: Path, *results: Row) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in results), encoding="utf-8")
    return path


def test_requests_that_were_sent_at_once(tmp_path: Path) -> None:
    log = read_recorded(write(tmp_path / "r.jsonl", result(output_lens=[10, 0, 10], errors=["", "boom", ""])))
    assert log.format == "sglang-bench"
    assert [one.request_id for one in log.requests] == ["request-0", "request-2"]
    assert {one.arrival_s for one in log.requests} == {0.0}
    last = log.requests[-1]
    assert (last.first_token_s, last.last_token_s) == pytest.approx((0.25, 0.75))
    assert (last.input_tokens, last.output_tokens) == (600, 10)
    assert log.notes[0].startswith("1 of 3 requests failed")
    assert log.notes[1] == "arrivals: all at once, as --request-rate inf sends them"


def test_speculation_is_noted(tmp_path: Path) -> None:
    log = read_recorded(write(tmp_path / "r.jsonl", result(accept_length=2.5)))
    assert any("speculative decoding (2.5 tokens a step)" in note for note in log.notes)


def test_a_version_with_other_settings_is_known_too(tmp_path: Path) -> None:
    other = result()
    del other["sharegpt_output_len"]
    assert read_recorded(write(tmp_path / "r.jsonl", other)).format == "sglang-bench"


def test_vllms_results_are_not_taken_for_it(tmp_path: Path) -> None:
    vllms = bench_result(simulated_rows([Program("a", (Turn(20, 0, 5),), 0.0)]))
    assert read_recorded(write(tmp_path / "r.json", vllms)).format == "vllm-bench"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"request_rate": 4.0}, "does not say when requests were sent (SGLang does not write it), which only"),
        ({"request_rate": "trace"}, "does not say when requests were sent"),
        ({"input_lens": None}, "input_lens is missing, expected one entry a request; save it with --output-details"),
        ({"ttfts": [0.1]}, "ttfts has 1 elements, expected 3, one a request"),
        ({"ttfts": [0.1, 0.1, 0.0]}, "ttfts[2] is 0.0, expected a first token after the request was sent"),
        ({"itls": [[0.1], [0.1], []]}, "itls[2] is 0, expected a last token after the first"),
        ({"itls": [[0.1], [0.1], "x"]}, 'itls[2] is "x", expected an array'),
        ({"itls": [[0.1], [0.1], ["x"]]}, 'itls[2][0] is "x", expected a finite number of seconds'),
        ({"input_lens": [5, 5, 0]}, "input_lens[2] is 0, expected a whole number of tokens, at least 1"),
    ],
)
def test_a_bad_result_is_refused_with_the_place_in_it(tmp_path: Path, change: Row, said: str) -> None:
    path = write(tmp_path / "r.jsonl", result(**change))
    with pytest.raises(TraceError) as refused:
        read_recorded(path)
    assert str(refused.value).removeprefix(f"{path}:").removeprefix("1:").lstrip().startswith(said)


def test_several_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="holds 2 results, one a line"):
        read_recorded(write(tmp_path / "r.jsonl", result(), result()))


def test_the_simulators_own_run_is_found_again(tmp_path: Path) -> None:
    rows = simulated_rows([Program(f"r{n}", (Turn(50 + n, 0, 2 + n),), 0.0) for n in range(12)])
    times = ("input_lens", "output_lens", "ttfts", "itls")
    made = {name: bench_result(rows)[name] for name in times}
    path = write(tmp_path / "r.jsonl", result(**made, errors=[""] * 12))
    found = run_backtest(path, step_time=affine(), tolerance=1e-4, **NAMES, **ENGINE)
    assert found.passed
    assert found.source.format == "sglang-bench"


def test_a_closed_loop_sent_each_request_when_another_was_answered(tmp_path: Path) -> None:
    """The first two are answered after 0.75 s, when the third is sent."""
    log = read_recorded(write(tmp_path / "r.jsonl", result(max_concurrency=2)))
    assert log.max_concurrency == 2
    assert [one.arrival_s for one in log.requests] == pytest.approx([0.0, 0.0, 0.75])
    assert log.end_s == pytest.approx(1.5)
