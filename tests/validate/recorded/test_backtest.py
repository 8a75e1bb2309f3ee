"""A log against its simulation: the simulator must reproduce its own runs, and notice a distorted log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.cli import main
from continuum_sim.errors import ConfigError
from continuum_sim.steptime.aiconfigurator import installed
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.schema import Program, Turn
from continuum_sim.validate.recorded import BacktestReport, print_backtest, run_backtest
from support.profiles import write_profile
from support.recorded_logs import ENGINE, NAMES, Row, bench_result, requests, simulated_rows, stretched, write_lines
from support.steptimes import affine, constant
from support.views import Html, lacking


def compare(path: Path, **more: Any) -> BacktestReport:
    return run_backtest(path, **{"step_time": affine(), **NAMES, **ENGINE, **more})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return simulated_rows(requests())


def errors(report: BacktestReport) -> list[float]:
    return [abs(figure.error or 0.0) for metric in report.metrics for figure in metric.figures]


def test_the_simulators_own_run_is_found_again(tmp_path: Path, rows: list[Row]) -> None:
    report = compare(write_lines(tmp_path / "r.jsonl", rows), tolerance=1e-4)
    assert report.simulated_preemptions > 0, "the test wants an engine short of memory"
    assert max(errors(report)) < 1e-4  # a double resolves a wall clock to a quarter of a microsecond
    assert [figure.error for figure in report.run] == pytest.approx([0.0] * 3, abs=1e-5)
    assert report.passed
    assert all(verdict.settled for verdict in report.verdicts)
    for metric in report.metrics:
        assert metric.agreement.within_tolerance in (None, 1.0)
        assert metric.agreement.distribution_error == pytest.approx(0, abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 25), rate=st.floats(0.5, 50))
def test_so_is_any_other(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, rate: float) -> None:
    made = simulated_rows(requests(count, seed, rate))
    result = tmp_path_factory.mktemp("log") / "result.json"
    result.write_text(json.dumps(bench_result(made)))
    report = compare(result, tolerance=1e-6)
    assert report.passed
    assert {metric.name for metric in report.metrics} >= {"end_to_end", "ttft"}


def test_closed_form(tmp_path: Path) -> None:
    # Steps of 10 ms: the prompt takes one, each further token another, so all 11 tokens are out after 10 + 100 ms.
    row = simulated_rows([Program("a", (Turn(8, 0, 11),), 0.0)], constant(0.01))[0]
    row["first_token_ts"] = row["queued_ts"] + 0.02
    row["last_token_ts"] = row["queued_ts"] + 0.22
    report = compare(write_lines(tmp_path / "r.jsonl", [row]), step_time=constant(0.01))
    for name, recorded, simulated in (("end_to_end", 0.22, 0.11), ("ttft", 0.02, 0.01), ("tpot", 0.02, 0.01)):
        metric = report.metric(name)
        assert metric is not None
        assert metric.mean.recorded == pytest.approx(recorded, abs=1e-6)
        assert metric.mean.simulated == pytest.approx(simulated, abs=1e-6)
        assert metric.mean.error == pytest.approx(-0.5, abs=1e-4)
        assert metric.mean.error_low is None, "one request has no interval"
    assert [(v.within, v.settled) for v in report.verdicts] == [(False, False)] * 3
    duration, per_s, tokens_per_s = report.run
    assert (duration.recorded, duration.simulated) == pytest.approx((0.22, 0.11), abs=1e-6)
    assert (per_s.recorded, per_s.simulated) == pytest.approx((1 / 0.22, 1 / 0.11), rel=1e-4)
    assert (tokens_per_s.recorded, tokens_per_s.simulated) == pytest.approx((50, 100), rel=1e-4)


def test_a_slower_engine_is_beyond_the_tolerance(tmp_path: Path, rows: list[Row]) -> None:
    slow = write_lines(tmp_path / "r.jsonl", stretched(rows, lambda s: 1.1 * s))
    report = compare(slow, tolerance=0.05)
    assert not report.passed
    assert report.exit_code == 1
    for verdict in report.verdicts:
        assert verdict.error == pytest.approx(1 / 1.1 - 1, abs=1e-4)
        assert not verdict.within
    loose = compare(slow, tolerance=0.1)
    assert loose.exit_code == 0


def test_one_mean_beyond_the_tolerance_is_enough(tmp_path: Path, rows: list[Row]) -> None:
    late = [{**row, "scheduled_ts": None} for row in rows]
    for row in late:
        row["first_token_ts"] += 0.2 * (row["last_token_ts"] - row["first_token_ts"])
    report = compare(write_lines(tmp_path / "r.jsonl", late), tolerance=0.02)
    within = {verdict.metric: verdict.within for verdict in report.verdicts}
    assert within == {"end_to_end": True, "ttft": False, "tpot": False}
    assert not report.passed
    assert report.metric("queue_wait") is None


def test_intervals_hold_the_error_and_widen_with_scatter(tmp_path: Path, rows: list[Row]) -> None:
    rng = np.random.default_rng(1)
    noisy = stretched(rows, lambda s: s)
    for row in noisy:
        end_s = row["last_token_ts"] - row["queued_ts"]
        row["last_token_ts"] += max(0.0, rng.normal(0, 0.5)) * end_s
    report = compare(write_lines(tmp_path / "r.jsonl", noisy))
    metric = report.metric("end_to_end")
    assert metric is not None
    mean = metric.mean
    assert mean.error is not None
    assert mean.error_low is not None
    assert mean.error_high is not None
    assert mean.error_low < mean.error < mean.error_high
    assert mean.error_high - mean.error_low > 0.02
    assert compare(tmp_path / "r.jsonl").metrics == report.metrics, "the bootstrap is seeded"
    assert compare(tmp_path / "r.jsonl", seed=1).metrics != report.metrics


def test_waits_of_zero_have_no_relative_error(tmp_path: Path) -> None:
    alone = simulated_rows([Program(f"p{n}", (Turn(20, 0, 5),), 10.0 * n) for n in range(4)])
    report = compare(write_lines(tmp_path / "r.jsonl", alone))
    wait = report.metric("queue_wait")
    assert wait is not None
    assert {figure.recorded for figure in wait.figures} == {0.0}
    assert {figure.error for figure in wait.figures} == {None}
    assert wait.agreement.median_error is None
    assert report.passed


def test_requests_of_one_token_have_no_tpot(tmp_path: Path) -> None:
    short = simulated_rows([Program(f"p{n}", (Turn(20, 0, 1),), float(n)) for n in range(3)])
    report = compare(write_lines(tmp_path / "r.jsonl", short))
    assert report.metric("tpot") is None
    assert [verdict.metric for verdict in report.verdicts] == ["end_to_end", "ttft"]
    assert report.passed


def test_client_and_engine_logs_of_one_run_agree(tmp_path: Path, rows: list[Row]) -> None:
    lines = compare(write_lines(tmp_path / "r.jsonl", rows))
    (tmp_path / "r.json").write_text(json.dumps(bench_result(rows)))
    result = compare(tmp_path / "r.json")
    assert result.source.format == "vllm-bench"
    for name in ("end_to_end", "ttft", "tpot"):
        one, two = lines.metric(name), result.metric(name)
        assert one is not None
        assert two is not None
        assert two.mean.recorded == pytest.approx(one.mean.recorded, abs=1e-5)


# The engine ---------------------------------------------------------------------------------------------------


def write_meta(folder: Path, **more: Any) -> None:
    meta = {
        "model": "meta-llama/Llama-3.1-8B",
        "hardware": {"device_name": "NVIDIA A100-SXM4-80GB"},
        "kv_cache": {"num_gpu_blocks": 60, "block_size": 16},
        "engine_kwargs": {"max_num_batched_tokens": 256, "max_num_seqs": 16, "max_model_len": 900},
        **more,
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def test_a_client_that_is_some_way_off(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(bench_result(simulated_rows(requests(), client_delay=0.06))))
    near = compare(path, tolerance=1e-6)
    assert not near.passed
    assert any("without --client-delay, HTTP" in note for note in near.notes)
    far = compare(path, tolerance=1e-6, client_delay=0.06)
    assert far.passed
    assert (far.engine["client_delay"].value, far.engine["client_delay"].origin) == (0.06, "given")
    assert not any("HTTP" in note for note in far.notes)


def test_requests_to_an_idle_engine_tell_how_far_off_their_client_is(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(bench_result(simulated_rows(requests(rate=0.2), client_delay=0.06))))
    said = compare(path).notes[-1]
    assert "requests found the engine idle; the median got its first token +60.0 ms later than simulated" in said
    assert said.endswith("--client-delay 0.060")
    assert compare(path, client_delay=0.02).notes[-1].endswith("--client-delay 0.060")
    busy = compare(write_lines(tmp_path / "r.jsonl", simulated_rows(requests(rate=50.0))))
    assert not any("idle" in note for note in busy.notes)


def test_times_of_the_engine_have_no_way_to_a_client(tmp_path: Path, rows: list[Row]) -> None:
    with pytest.raises(ConfigError, match="its times are the engine's own, without the client's: leave --client-delay"):
        compare(write_lines(tmp_path / "r.jsonl", rows), client_delay=0.06)


def test_settings_come_from_the_user_then_the_log_then_vllm(tmp_path: Path, rows: list[Row]) -> None:
    path = write_lines(tmp_path / "r.jsonl", rows)
    write_meta(tmp_path)
    report = run_backtest(path, step_time=affine(), tolerance=1e-4)
    assert report.passed
    engine = report.engine
    assert (engine["kv_blocks"].value, engine["kv_blocks"].origin) == (60, "recorded")
    assert (engine["gpu"].value, engine["gpu"].origin) == ("A100-80", "recorded")
    assert (engine["tensor_parallel_size"].value, engine["tensor_parallel_size"].origin) == (1, "default")
    assert (engine["async_scheduling"].value, engine["async_scheduling"].origin) == (True, "default")
    other = run_backtest(path, step_time=affine(), kv_blocks=80)
    assert (other.engine["kv_blocks"].value, other.engine["kv_blocks"].origin) == (80, "given")
    assert "recorded with kv_blocks 60, simulated with 80 as given" in other.notes
    assert other.simulated_steps < report.simulated_steps


def test_what_nobody_says_is_asked_for(tmp_path: Path, rows: list[Row]) -> None:
    path = write_lines(tmp_path / "r.jsonl", rows)
    with pytest.raises(ConfigError, match="does not say which model it was recorded on; give --model"):
        run_backtest(path, gpu="a100-80")
    with pytest.raises(ConfigError, match="does not say which gpu it was recorded on; give --gpu"):
        run_backtest(path, model="llama-3.1-8b")
    report = run_backtest(path, **NAMES, step_time=affine())
    assert any("kv_blocks is neither given nor recorded" in note for note in report.notes)


def test_a_recorded_name_that_is_unknown_points_to_its_file(tmp_path: Path, rows: list[Row]) -> None:
    path = write_lines(tmp_path / "r.jsonl", rows)
    write_meta(tmp_path, hardware={"device_name": "NVIDIA Unheard-Of 9000"})
    with pytest.raises(ConfigError, match=r"meta\.json: unknown GPU .*; say what it is with --gpu"):
        run_backtest(path)
    assert run_backtest(path, gpu="a100-80", step_time=affine(), tolerance=1e-4).passed


def test_requests_that_do_not_fit_are_refused(tmp_path: Path, rows: list[Row]) -> None:
    path = write_lines(tmp_path / "r.jsonl", [*rows, {**rows[-1], "request_id": "huge", "input_toks": 5000}])
    with pytest.raises(ConfigError, match="program 'huge' needs a context of"):
        compare(path)


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_a_tolerance_is_a_share(tmp_path: Path, rows: list[Row], tolerance: float) -> None:
    with pytest.raises(ConfigError, match=r"tolerance is .*, expected a share of zero or more"):
        compare(write_lines(tmp_path / "r.jsonl", rows), tolerance=tolerance)


# The engine over time -----------------------------------------------------------------------------------------


def write_series(folder: Path, rows: list[Row], shift_s: float, columns: str = "", cells: str = "") -> None:
    """Write gauges every 50 ms on a clock `shift_s` ahead of the log's; all requests count as running."""
    zero_s = min(row["queued_ts"] for row in rows)
    end_s = max(row["last_token_ts"] for row in rows) - zero_s
    lines = [f"t,running,waiting,kv_cache_pct{columns}"]
    for at_s in np.arange(0.05, end_s, 0.05):
        inside = sum(row["queued_ts"] - zero_s <= at_s < row["last_token_ts"] - zero_s for row in rows)
        lines.append(f"{at_s + shift_s:.4f},{inside},0,50.0{cells}")
    (folder / "timeseries.csv").write_text("\n".join(lines) + "\n")


def test_gauges_in_closed_form(tmp_path: Path) -> None:
    # Steps of 10 ms; 100 tokens take 7 of the 59 usable blocks, and the output's 13th token opens the 8th, which
    # is taken a step ahead.
    rows = simulated_rows([Program("a", (Turn(100, 0, 21),), 0.0), Program("b", (Turn(1, 0, 1),), 1.0)], constant(0.01))
    lines = ["t,running,waiting,kv_cache_pct"]
    blocks = [7] * 12 + [8] * 8
    lines += [f"{step / 100 + 0.005},1,0,{100 * used / 59:.6f}" for step, used in enumerate(blocks, start=1)]
    lines.append("0.215,0,0,0.0")
    (tmp_path / "timeseries.csv").write_text("\n".join(lines) + "\n")
    report = compare(write_lines(tmp_path / "r.jsonl", rows), step_time=constant(0.01))
    assert report.gauges is not None
    assert report.gauges.clock_s == pytest.approx(0.0, abs=0.005)
    assert [gauge.mean_distance for gauge in report.gauges.gauges] == pytest.approx([0, 0, 0], abs=1e-6)


@pytest.mark.parametrize("shift_s", [0.0, 0.333, 41.7])
def test_the_clock_of_a_time_series_is_found(tmp_path: Path, rows: list[Row], shift_s: float) -> None:
    write_series(tmp_path, rows, shift_s)
    report = compare(write_lines(tmp_path / "r.jsonl", rows))
    assert report.gauges is not None
    assert report.gauges.clock_s == pytest.approx(shift_s, abs=0.03)
    assert report.gauges.clock_distance < 0.1
    assert report.recorded_preemptions is None
    gauges = {gauge.name: gauge for gauge in report.gauges.gauges}
    assert gauges["kv_share"].recorded_mean == pytest.approx(0.5)
    # The log's clock is exact, so running and waiting in the simulation add up to running in the series.
    in_system = gauges["running"].simulated_mean + gauges["waiting"].simulated_mean
    assert in_system == pytest.approx(gauges["running"].recorded_mean, rel=0.05)
    assert 0.5 < gauges["kv_share"].simulated_mean <= 1.0


def test_preemptions_are_counted_where_the_engine_counted_them(tmp_path: Path, rows: list[Row]) -> None:
    write_series(tmp_path, rows[:], 0.0, ",preempted", ",2")
    report = compare(write_lines(tmp_path / "r.jsonl", rows))
    assert report.gauges is not None
    assert report.recorded_preemptions == 2 * report.gauges.rows


def test_a_series_of_another_run_is_left_out(tmp_path: Path, rows: list[Row]) -> None:
    write_series(tmp_path, simulated_rows(requests(25, seed=9, rate=1.0)), 0.0)
    report = compare(write_lines(tmp_path / "r.jsonl", rows))
    assert report.gauges is None
    assert any("does not agree with the log" in note for note in report.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t,running,waiting\n1,2,3\n", ":1: column kv_cache_pct is missing"),
        ("t,running,waiting,kv_cache_pct\n1,2,x,4\n", ':2: waiting is "x", expected a number'),
        ("t,running,waiting,kv_cache_pct\n1,2\n", ":2: waiting is null, expected a number"),
        ("t,running,waiting,kv_cache_pct\n", ": holds no row"),
        ("t,running,waiting,kv_cache_pct\n1,1,1,1\n2,1,1,1\n2,1,1,1\n", ":4: t does not grow"),
    ],
)
def test_a_broken_series_is_refused_with_its_line(tmp_path: Path, rows: list[Row], text: str, said: str) -> None:
    (tmp_path / "timeseries.csv").write_text(text)
    with pytest.raises(TraceError) as refused:
        compare(write_lines(tmp_path / "r.jsonl", rows))
    assert f"timeseries.csv{said}" in str(refused.value)


# What is left behind ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("rendered")
def test_the_directory_holds_all_of_it(tmp_path: Path, rows: list[Row]) -> None:
    write_series(tmp_path, rows, 1.0)
    out = tmp_path / "out"
    path = write_lines(tmp_path / "r.jsonl", stretched(rows, lambda s: 1.2 * s))
    report = compare(path, out=out)
    assert {file.name for file in out.iterdir()} == {
        *("report.json", "report.html", "manifest.json", "requests.parquet", "requests.png", "engine.png")
    }
    assert not list(tmp_path.glob(".out*")), "nothing half-made is left"
    written = json.loads((out / "report.json").read_text())
    assert written["passed"] is report.passed is False
    assert written["metrics"][0]["figures"][0]["error"] == pytest.approx(1 / 1.2 - 1, abs=1e-4)
    table = pq.read_table(out / "requests.parquet").to_pandas()
    assert len(table) == len(rows)
    recorded = (table.recorded_last_token_s - table.arrival_s).mean()
    assert recorded == pytest.approx(written["metrics"][0]["figures"][0]["recorded"])
    assert table.simulated_preemptions.sum() == report.simulated_preemptions
    for picture in ("requests.png", "engine.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "end to end −16.7 % (beyond)" in page
    with pytest.raises(ConfigError, match="holds earlier results"):
        compare(path, out=out)
    compare(path, out=out, force=True)


def test_a_taken_place_is_refused_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="holds files that are not results"):
        compare(tmp_path / "no log at all", out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.usefixtures("rendered")
def test_names_in_a_log_cannot_break_the_page(tmp_path: Path, rows: list[Row]) -> None:
    path = write_lines(tmp_path / "<b>r.jsonl", rows)
    compare(path, out=tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;r.jsonl" in page


def test_the_terminal_says_everything(tmp_path: Path, rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(tmp_path / "r.jsonl", rows)
    report = compare(path, out=tmp_path / "out")
    assert print_backtest(report) == 0
    out = capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    for shown in (out, Html(page).text, Html(report._repr_html_()).text):
        assert lacking(report.view(), shown) == []
    for word in ("measured:", "derived:", "missing:", "kv_blocks 60 (given)", "p99", "resampled", "preemptions"):
        assert word in out
    assert "end to end 0.0 % (within); TTFT 0.0 % (within); TPOT 0.0 % (within)" in out
    assert print_backtest(compare(path), json=True) == 0
    assert json.loads(capsys.readouterr().out)["source"]["requests"] == len(rows)


def test_the_command(tmp_path: Path, rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "fitted.json"
    fitted = affine()
    model.write_text(json.dumps(fitted.describe()))
    path = write_lines(tmp_path / "r.jsonl", rows)
    write_meta(tmp_path)
    common = ["backtest", str(path), "--step-time", f"fitted:{model}"]

    def command(*more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exited:
            main([*common, *more])
        captured = capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return exited.value.code, captured.out, captured.err

    code, out, err = command("--tolerance", "0.01")
    assert (code, err) == (0, "")
    assert "end to end 0.0 % (within)" in out
    write_lines(path, stretched(rows, lambda s: 1.1 * s))
    code, out, _ = command("--json")
    assert code == 1
    assert json.loads(out)["passed"] is False
    folder = tmp_path / "out"
    code, _, err = command("--out", str(folder))
    assert (code, err) == (1, f"wrote {folder}\n")
    assert json.loads((folder / "manifest.json").read_text())["command"][1:3] == ["backtest", str(path)]
    assert command("--force")[2].startswith("error: --force lets --out replace")
    path.write_text(path.read_text().replace('"output_toks"', '"output"', 1))
    code, out, err = command()
    assert (code, out) == (2, "")
    assert err == f"error: {path}:1: output_toks is missing, expected a whole number of tokens, at least 1\n"


CLOSED = {"request_rate": "inf", "max_concurrency": 6}


def test_a_closed_loop_is_replayed_as_one(tmp_path: Path) -> None:
    """With steps 1.3 times as long each answer takes so much longer, and the next request is sent so much later."""
    made = simulated_rows(requests(60, seed=3), arrivals="closed:workers=6")
    path = tmp_path / "result.json"
    path.write_text(json.dumps(bench_result(made, **CLOSED)))
    again = compare(path, tolerance=1e-6)
    assert again.passed
    assert any("closed loop of 6 requests" in note for note in again.notes)
    slow = affine(*(1.3 * part for part in (0.0117, 3.1e-4, 7.3e-7, 1.9e-8)))
    closed = compare(path, step_time=slow)
    path.write_text(json.dumps(bench_result(made, request_rate=9.0, max_concurrency=6)))
    by_time = compare(path, step_time=slow)
    means = []
    for report in (closed, by_time):
        metric = report.metric("end_to_end")
        assert metric is not None
        means.append(metric.mean.error)
    assert means[0] == pytest.approx(0.3, abs=0.01)
    assert means[1] is not None
    assert means[1] > 0.6
    assert any("held some back" in note for note in by_time.notes)


def test_the_closest_step_times_are_the_default_and_named(tmp_path: Path, rows: list[Row]) -> None:
    log = write_lines(tmp_path / "r.jsonl", rows)
    report = compare(log, step_time=None, gpu="h100")
    kind = "aiconfigurator" if installed() else "roofline"
    assert report.step_time["kind"] == kind
    assert report.notes[-1].startswith(f"step times by default: {kind}")
    assert compare(log, step_time=None, gpu="rtx-4090").step_time["kind"] == "roofline"
    write_profile(tmp_path)
    beside = compare(log, step_time=None)
    assert beside.step_time["kind"] == "profiled"
    assert beside.notes[-1] == "step times by default: profiled: kernels measured beside the log"
