"""Reading logs: what they hold, what follows from it, and what is refused, with line and field."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.names import Registry
from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded import RecordedFormat, read_recorded
from continuum_sim.validate.recorded.format import RECORDING_ENTRY_POINTS
from support.recorded_logs import BOOT_S, WALL_S, Row, bench_result, write_lines


def line(number: int = 0, **more: Any) -> Row:
    """Return a request that arrives at `number` seconds, is queued 10 ms late, and takes 0.1 s and 1 s."""
    at_s = float(number)
    return {
        "request_id": f"bench-{number}",
        "input_toks": 100 + number,
        "output_toks": 10,
        "arrival_time": WALL_S + at_s,
        "queued_ts": BOOT_S + at_s + 0.01,
        "scheduled_ts": BOOT_S + at_s + 0.02,
        "first_token_ts": BOOT_S + at_s + 0.1,
        "last_token_ts": BOOT_S + at_s + 1.0,
        **more,
    }


# JSON lines ---------------------------------------------------------------------------------------------------


def test_arrivals_move_onto_the_engines_clock_by_the_smallest_delay(tmp_path: Path) -> None:
    late = line(1, queued_ts=BOOT_S + 1.25, scheduled_ts=BOOT_S + 1.25, first_token_ts=BOOT_S + 1.5)
    log = read_recorded(write_lines(tmp_path / "requests.jsonl", [late, line(0), line(2)]))
    assert log.format == "llmservingsim"
    assert [one.request_id for one in log.requests] == ["bench-0", "bench-1", "bench-2"]
    # The clocks differ by the 10 ms of the two requests queued at once, so the first token of bench-1 came 0.49 s
    # after its arrival, of which it had waited 0.24 s to be queued.
    first = log.requests[1]
    assert first.arrival_s == pytest.approx(1.0, abs=1e-6)
    assert first.first_token_s - first.arrival_s == pytest.approx(0.49, abs=1e-6)
    assert first.scheduled_s is not None
    assert first.scheduled_s - first.arrival_s == pytest.approx(0.24, abs=1e-6)
    assert any("up to 0.240 s" in text for text in log.provenance.derived)
    assert (first.input_tokens, first.output_tokens) == (101, 10)


def test_one_clock_is_left_alone(tmp_path: Path) -> None:
    rows = [line(n, arrival_time=BOOT_S + n) for n in range(3)]
    log = read_recorded(write_lines(tmp_path / "r.jsonl", rows))
    assert [one.first_token_s - one.arrival_s for one in log.requests] == pytest.approx([0.1] * 3)
    assert not any("clock" in text for text in log.provenance.derived)


def test_what_a_log_does_not_know_is_said(tmp_path: Path) -> None:
    rows = [line(n) for n in range(2)]
    del rows[1]["scheduled_ts"], rows[1]["request_id"]
    log = read_recorded(write_lines(tmp_path / "r.jsonl", rows))
    assert [one.scheduled_s for one in log.requests] == [None, None]
    assert log.requests[1].request_id == "line-2"
    assert any("queue wait" in text for text in log.provenance.missing)
    assert not any("queue wait" in text for text in log.provenance.measured)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_toks": 0}, "input_toks is 0, expected a whole number of tokens, at least 1"),
        ({"output_toks": True}, "output_toks is true, expected a whole number of tokens, at least 1"),
        ({"output_toks": 3.0}, "output_toks is 3.0, expected"),
        ({"input_toks": None}, "input_toks is null, expected"),
        ({"arrival_time": "soon"}, 'arrival_time is "soon", expected a finite number of seconds'),
        ({"first_token_ts": float("nan")}, "first_token_ts is NaN, expected a finite number of seconds"),
        ({"last_token_ts": BOOT_S + 3.05}, "last_token_ts is 27003.05, expected after first_token_ts"),
        ({"first_token_ts": 0.0}, "scheduled_ts is 27003.02, expected from queued_ts"),
        ({"first_token_ts": 0.0, "scheduled_ts": None}, "first_token_ts is 0.0, expected after queued_ts"),
        ({"scheduled_ts": BOOT_S}, "scheduled_ts is 27000.0, expected from queued_ts"),
        ({"request_id": 7}, "request_id is 7, expected a non-empty string"),
        ({"request_id": "bench-1"}, "request_id 'bench-1' is also on line 2, expected a new one"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_field(tmp_path: Path, change: Row, said: str) -> None:
    rows = [line(0), line(1), line(2), {**line(3), **change}, line(4)]
    path = write_lines(tmp_path / "r.jsonl", rows)
    with pytest.raises(TraceError) as refused:
        read_recorded(path)
    assert str(refused.value).startswith(f"{path}:4: {said}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("field", ["input_toks", "output_toks", "arrival_time", "queued_ts", "last_token_ts"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    rows = [line(0), line(1)]
    del rows[1][field]
    with pytest.raises(TraceError, match=f":2: {field} is missing, expected"):
        read_recorded(write_lines(tmp_path / "r.jsonl", rows))


def test_queued_before_it_arrived_on_one_clock_is_refused(tmp_path: Path) -> None:
    rows = [line(0, arrival_time=BOOT_S), line(1, arrival_time=BOOT_S + 1.5)]
    with pytest.raises(TraceError, match=r":2: queued_ts is 0\.49 s before arrival_time"):
        read_recorded(write_lines(tmp_path / "r.jsonl", rows))


@given(order=st.permutations(range(6)), wall_s=st.floats(1e9, 3e9), boot_s=st.floats(0, 1e6))
def test_neither_the_order_of_lines_nor_the_clocks_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], wall_s: float, boot_s: float
) -> None:
    def rows(wall_s: float, boot_s: float) -> list[Row]:
        made = []
        for n in range(6):
            row = line(n * n)
            row["arrival_time"] += wall_s - WALL_S
            made.append({k: v + boot_s - BOOT_S if k.endswith("_ts") else v for k, v in row.items()})
        return made

    folder = tmp_path_factory.mktemp("logs")
    plain = read_recorded(write_lines(folder / "a.jsonl", rows(WALL_S, BOOT_S)))
    moved = rows(wall_s, boot_s)
    other = read_recorded(write_lines(folder / "b.jsonl", [moved[n] for n in order]))
    for one, two in zip(plain.requests, other.requests, strict=True):
        assert one.request_id == two.request_id
        times = (one.arrival_s, one.first_token_s, one.last_token_s)
        # A double resolves today's wall clock to a quarter of a microsecond.
        assert (two.arrival_s, two.first_token_s, two.last_token_s) == pytest.approx(times, abs=2e-6)


# vLLM's benchmark ---------------------------------------------------------------------------------------------


def write_result(path: Path, **more: Any) -> Path:
    path.write_text(json.dumps(bench_result([line(2), line(0), line(1)], **more)), encoding="utf-8")
    return path


def test_a_result_of_vllms_benchmark(tmp_path: Path) -> None:
    log = read_recorded(write_result(tmp_path / "result.json"))
    assert log.format == "vllm-bench"
    assert [one.request_id for one in log.requests] == ["request-1", "request-2", "request-0"]
    assert [one.arrival_s for one in log.requests] == pytest.approx([0, 1, 2])
    assert [one.first_token_s - one.arrival_s for one in log.requests] == pytest.approx([0.09] * 3)
    assert [one.last_token_s - one.arrival_s for one in log.requests] == pytest.approx([0.99] * 3)
    assert log.setup.model == "meta-llama/Llama-3.1-8B"
    assert "queue wait" in log.provenance.missing
    assert log.clients_clock


def test_versions_without_latencies_give_the_same(tmp_path: Path) -> None:
    new = read_recorded(write_result(tmp_path / "new.json"))
    old = read_recorded(write_result(tmp_path / "old.json", latencies=None))
    ends = [one.last_token_s for one in new.requests]
    assert [one.last_token_s for one in old.requests] == pytest.approx(ends)
    assert any("inter-token" in text for text in old.provenance.derived)


def test_failed_requests_are_left_out_and_counted(tmp_path: Path) -> None:
    log = read_recorded(write_result(tmp_path / "r.json", errors=["", "boom", ""], output_lens=[10, 0, 10]))
    assert [one.request_id for one in log.requests] == ["request-2", "request-0"]
    assert log.notes[0].startswith("1 of 3 requests failed")
    with pytest.raises(TraceError, match='all 3 requests failed, the first with "Not Found"'):
        read_recorded(write_result(tmp_path / "r.json", errors=["Not Found"] * 3, output_lens=[0] * 3))


def test_without_start_times_arrivals_follow_only_where_all_were_sent_at_once(tmp_path: Path) -> None:
    path = write_result(tmp_path / "r.json", start_times=None, request_rate="inf")
    assert {one.arrival_s for one in read_recorded(path).requests} == {0.0}
    for more in ({"request_rate": 4.0}, {"request_rate": "inf", "max_concurrency": 8}):
        with pytest.raises(TraceError, match="start_times is missing, so nobody knows when"):
            read_recorded(write_result(tmp_path / "r.json", start_times=None, **more))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_lens": None}, "input_lens is missing, expected one entry a request; save it with --save-result"),
        ({"ttfts": [0.1, 0.1]}, "ttfts has 2 elements, expected 3, one a request"),
        ({"itls": None, "latencies": None}, "itls is null, expected an array"),
        ({"input_lens": [5, 0, 5]}, "input_lens[1] is 0, expected a whole number of tokens, at least 1"),
        ({"ttfts": [0.1, 0.1, None]}, "ttfts[2] is null, expected a finite number of seconds"),
        ({"ttfts": [0.1, 0.1, 0.0]}, "ttfts[2] is 0.0, expected above 0: benchmark an endpoint that streams"),
        ({"latencies": [1.0, 1.0, 0.05]}, "latencies[2] is 0.05, expected a last token after the first"),
        ({"latencies": None, "itls": [[0.1], [0.1], [0.2, -1]]}, "itls[2][1] is -1.0, expected zero or more seconds"),
        ({"latencies": None, "itls": [[0.1], [0.1], 3]}, "itls[2] is 3, expected an array"),
        ({"start_times": [0, 1, "x"]}, 'start_times[2] is "x", expected a finite number of seconds'),
    ],
)
def test_a_bad_result_is_refused_with_the_place_in_it(tmp_path: Path, change: Row, said: str) -> None:
    path = write_result(tmp_path / "r.json", **change)
    with pytest.raises(TraceError) as refused:
        read_recorded(path)
    assert str(refused.value).startswith(f"{path}: {said}")


def test_several_results_in_one_file_are_refused(tmp_path: Path) -> None:
    path = write_result(tmp_path / "r.json")
    path.write_text(path.read_text() + "\n" + path.read_text())
    with pytest.raises(TraceError, match="holds 2 results, one a line"):
        read_recorded(path)


def test_speculation_and_concurrency_are_noted(tmp_path: Path) -> None:
    log = read_recorded(write_result(tmp_path / "r.json", max_concurrency=8, spec_decode_num_drafts=3))
    assert any("at most 8 requests" in note for note in log.notes)
    assert any("speculative" in note for note in log.notes)


# Telling formats apart ----------------------------------------------------------------------------------------


def test_an_indented_result_is_known_too(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(bench_result([line(0)]), indent=2))
    assert read_recorded(path).format == "vllm-bench"


def test_one_line_is_a_log_as_well(tmp_path: Path) -> None:
    assert read_recorded(write_lines(tmp_path / "r", [line(0)])).format == "llmservingsim"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty, expected a log of requests"),
        ("\n \n", "is empty, expected a log of requests"),
        ("[1, 2]", ":1: is an array, expected a JSON object"),
        ('{"a": 1}', ":1: is in no known format; known: aiperf, "),
        ('\n{"a": 1,}\n', ":2: not valid JSON at column 9"),
        ('{\n"a": 1,\n"b" 2}', ":3: not valid JSON at column 5"),
        (b"\xff\xfe{}", ":1: is not UTF-8 text"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = tmp_path / "odd"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TraceError) as refused:
        read_recorded(path)
    assert said in str(refused.value)


def test_a_broken_line_in_the_middle(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", [line(0), line(1)])
    path.write_text(path.read_text()[:-20])
    with pytest.raises(TraceError, match=r"r\.jsonl:2: not valid JSON"):
        read_recorded(path)


def test_a_named_format_is_not_guessed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", [line(0)])
    with pytest.raises(TraceError, match="input_lens is missing"):
        read_recorded(path, "vllm-bench")
    with pytest.raises(ConfigError, match="unknown format 'vllm-benc', did you mean 'vllm-bench'\\? known: aiperf, "):
        read_recorded(path, "vllm-benc")
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read_recorded(tmp_path / "none")


# meta.json ----------------------------------------------------------------------------------------------------

META: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B",
    "vllm_version": "0.19.0",
    "num_requests": 2,
    "engine_kwargs": {"tensor_parallel_size": 1, "max_num_seqs": 99, "max_num_batched_tokens": 99},
    "kv_cache": {"num_gpu_blocks": 2588, "block_size": 16, "enable_prefix_caching": True},
    "hardware": {"device_name": "NVIDIA GeForce RTX 4090"},
    "resolved_config": {
        "scheduler_config": {"max_num_batched_tokens": 2048, "max_num_seqs": 256, "async_scheduling": True},
        "model_config": {"max_model_len": 32768},
        "parallel_config": {"tensor_parallel_size": 1, "data_parallel_size": 1},
    },
}


def read_beside(folder: Path, meta: object) -> Any:
    (folder / "meta.json").write_text(json.dumps(meta))
    return read_recorded(write_lines(folder / "requests.jsonl", [line(0), line(1)]))


def test_the_engine_is_read_as_vllm_resolved_it(tmp_path: Path) -> None:
    log = read_beside(tmp_path, META)
    setup = log.setup
    assert (setup.model, setup.gpu) == ("meta-llama/Llama-3.1-8B", "NVIDIA GeForce RTX 4090")
    assert (setup.kv_blocks, setup.block_size, setup.tensor_parallel_size) == (2588, 16, 1)
    assert (setup.max_num_batched_tokens, setup.max_num_seqs, setup.max_model_len) == (2048, 256, 32768)
    assert setup.async_scheduling is True
    assert "recorded on vLLM 0.19.0" in log.notes


def test_the_split_is_read_as_vllm_resolved_it(tmp_path: Path) -> None:
    split = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "enable_expert_parallel": True, "nnodes": 2}
    resolved = META["resolved_config"] | {"parallel_config": split}
    setup = read_beside(tmp_path, META | {"resolved_config": resolved}).setup
    found = (setup.tensor_parallel_size, setup.pipeline_parallel_size, setup.enable_expert_parallel, setup.nodes)
    assert found == (2, 2, True, 2)


def test_an_older_meta_knows_what_was_asked_for_only(tmp_path: Path) -> None:
    setup = read_beside(tmp_path, {"model": "m", "engine_kwargs": META["engine_kwargs"], "kv_cache": {}}).setup
    assert (setup.max_num_seqs, setup.kv_blocks, setup.gpu) == (99, None, None)


def test_what_bounds_prefills_is_read(tmp_path: Path) -> None:
    scheduler, cache = {"long_prefill_token_threshold": 512}, {"enable_prefix_caching": False}
    log = read_beside(tmp_path, {"resolved_config": {"scheduler_config": scheduler, "cache_config": cache}})
    assert (log.setup.long_prefill_token_threshold, log.setup.enable_prefix_caching) == (512, False)
    assert log.notes == ()


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("scheduler_config", {"policy": "priority"}, "--scheduling-policy priority"),
        ("scheduler_config", {"scheduler_cls": "my.Scheduler"}, "under the scheduler my.Scheduler"),
        ("speculative_config", {"method": "ngram"}, "speculative decoding"),
    ],
)
def test_what_the_simulator_does_not_do_is_noted(tmp_path: Path, part: str, change: Row, said: str) -> None:
    log = read_beside(tmp_path, {"resolved_config": {part: change}})
    assert any(said in note for note in log.notes)


def test_a_meta_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"meta\.json: data_parallel_size is 2: the requests were spread"):
        read_beside(tmp_path, {"engine_kwargs": {"data_parallel_size": 2}})
    with pytest.raises(TraceError, match=r'meta\.json: num_gpu_blocks is "many", expected'):
        read_beside(tmp_path, {"kv_cache": {"num_gpu_blocks": "many"}})
    with pytest.raises(TraceError, match=r"meta\.json: is an array, expected a JSON object"):
        read_beside(tmp_path, [])
    assert any("says 3 requests, the log holds 2" in note for note in read_beside(tmp_path, {"num_requests": 3}).notes)


def test_another_package_adds_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = RecordedFormat("ours", frozenset({"sent", "done"}), read_recorded)
    point = SimpleNamespace(name="ours", value="my_logs:OURS", load=lambda: ours)
    monkeypatch.setattr("continuum_sim.names.entry_points", lambda *, group: [point])
    formats = Registry("format", error=ConfigError, kind=RecordedFormat, group=RECORDING_ENTRY_POINTS)
    assert list(formats.load()) == ["ours"]
    assert formats.find("ours").likeness({"sent", "done", "more"}) == 2
    assert formats.find("ours").likeness({"sent"}) == 0
