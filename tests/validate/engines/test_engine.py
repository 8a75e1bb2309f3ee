"""On a real vLLM: start, serve, measure, fail, and leave no process behind. Small models, short runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.cli import main
from continuum_sim.errors import ConfigError
from continuum_sim.steptime import Calibrated, save_fitted
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.traces import write_programs
from continuum_sim.validate.engines.in_process import FORCED, InProcess
from continuum_sim.validate.engines.interface import EngineError, TurnRequest
from continuum_sim.validate.engines.options import EngineOptions
from continuum_sim.validate.engines.processes import descendants
from continuum_sim.validate.plugin.settings import ENVIRONMENT as PLUGIN_SETTINGS
from continuum_sim.validate.session.files import read_records
from continuum_sim.validate.session.pace import parse_pace
from continuum_sim.validate.steplog import ENVIRONMENT as STEP_LOG
from continuum_sim.validate.steplog import read_steps, time_steps
from support.programs import program, turn

pytest.importorskip("vllm")
pytestmark = pytest.mark.engine

SMALL = {"max_model_len": 512, "max_num_batched_tokens": 256, "max_num_seqs": 8, "block_size": 32}
PROGRAMS = [
    program(name, turn(100, 20, gap=0.1), turn(200, 20, gap=0.1), turn(260, 10), at=0.05 * i)
    for i, name in enumerate("abcd")
]


def engine_processes() -> list[int]:
    """Return the processes left of engines that this process started (Python's resource tracker is not theirs)."""
    return [pid for pid in descendants() if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_engines_of_other_policies_and_folders_compile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's compile cache is keyed by a hash of the configuration, `additional_config` included."""
    from vllm import AsyncEngineArgs

    started: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def start(arguments: dict[str, Any]) -> None:
        key = AsyncEngineArgs(**arguments).create_engine_config().compute_hash()
        told = [json.loads(os.environ.get(name, "{}")) for name in (PLUGIN_SETTINGS, STEP_LOG)]
        started.append((key, *told))
        raise ConfigError("seen enough")

    monkeypatch.setattr("continuum_sim.validate.engines.in_process._start", start)
    monkeypatch.setenv(PLUGIN_SETTINGS, '{"policy": "mine"}')
    starter = InProcess(EngineOptions(model="tiny", **SMALL), tmp_path)
    for folder, policy, settings in (
        ("a", "ttl", {}),
        ("b", "ttl-static:ttl=3", {"forget_after_s": 9.0}),
        ("c", None, {}),
    ):
        with pytest.raises(ConfigError, match="seen enough"):
            asyncio.run(starter(policy, settings, tmp_path / folder, None))
    assert len({key for key, _, _ in started}) == 1
    assert [told["policy"] for _, told, _ in started] == ["ttl", "ttl-static:ttl=3", "mine"]
    assert started[1][1]["decisions"] == str(tmp_path / "b" / "decisions.jsonl")
    assert started[1][1]["forget_after_s"] == 9.0
    assert [log["policy"] for _, _, log in started] == [True, True, False]
    assert os.environ[PLUGIN_SETTINGS] == '{"policy": "mine"}'
    assert STEP_LOG not in os.environ


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_programs(tmp_path / "trace.jsonl", PROGRAMS)
    save_fitted(Calibrated(0.003, 8e-5, 1e-3, 5e-7, 2.6e-8, 6e-5, 3.5e-7, 0), tmp_path / "rough.json")
    return tmp_path


def small_flags() -> list[str]:
    return [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def test_policies_run_and_the_caches_agree_turn_by_turn(trace: Path) -> None:
    """With ample memory, cache hits do not depend on time, so all of them must agree."""
    code = run(
        *("validate", "--trace", "trace.jsonl", "--policies", "lru,ttl-static:ttl=60", "--repeats", "1"),
        *("--kv-blocks", "200", "--step-time", "fitted:rough.json", "--tolerance", "100", "--out", "v"),
        *small_flags(),
    )
    assert code == 0
    assert engine_processes() == []
    report = json.loads(Path("v/report.json").read_text())
    for policy in report["policies"]:
        assert policy["cached_equal"] == policy["fates_equal"] == 1.0
        assert policy["engine_pace"] > 0
        assert policy["error_split"] is not None
    pins = report["policies"][1]["pins"]
    # Two of three turns of every program end with a tool call, and every tool is back within the minute.
    assert {name: pin["measured"]["value"] for name, pin in pins.items()} == {
        "pins_made": 8,
        "pins_hit": 8,
        "pins_expired": 0,
        "pins_broken": 0,
    }
    folders = sorted(Path("v/runs").iterdir())
    assert len(folders) == 2
    for folder in folders:
        programs, turns = read_records(folder)
        assert len(programs) == 4
        # Of 119 tokens with KV 3 blocks are full, of 219 there are 6.
        assert [t.cached_tokens for t in sorted(turns)] == [0, 96, 192] * 4
        for one in turns:
            assert one.arrival_s <= one.scheduled_s <= one.first_token_s <= one.finish_s
        for before, after in pairwise(sorted(turns)):
            if after.turn:
                assert after.arrival_s == pytest.approx(before.finish_s + 0.1)
        events = [json.loads(line)["event"] for line in (folder / "decisions.jsonl").read_text().splitlines()]
        assert events.count("arrive") == events.count("admit") == 12
    steps = read_steps(folders[0] / "steps.jsonl")
    assert all(a.end_s <= b.end_s for a, b in pairwise(steps))


@pytest.mark.parametrize(
    ("policy", "asynchronous"),
    [("program-fifo", True), ("ttl-static:ttl=0.2", False)],
)
def test_scarce_memory_and_every_step_is_the_simulators(
    trace: Path, policy: str, asynchronous: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the engine's own step times and gaps the simulator takes the same steps, however unsteady the machine."""
    code = run(
        *("validate", "--trace", "trace.jsonl", "--policies", policy, "--repeats", "1"),
        *("--kv-blocks", "20", "--step-time", "fitted:rough.json", "--tolerance", "100", "--out", "v"),
        *("--async-scheduling" if asynchronous else "--no-async-scheduling", *small_flags()),
    )
    assert code == 0
    from vllm.platforms import current_platform

    forced = asynchronous and current_platform.is_cpu()
    assert (FORCED in capsys.readouterr().err.splitlines()) is forced
    facts = json.loads(Path("v/engine.json").read_text())
    assert (facts["async_scheduling"], facts["async_forced"]) == (asynchronous, FORCED if forced else None)
    (found,) = json.loads(Path("v/report.json").read_text())["policies"]
    again = found["reenacted"]
    assert again["same_steps"] > 0.98
    assert again["cached_equal"] > 0.98
    assert abs(again["jct_error"]) < 0.01
    # Memory was scarce: some turn found less than it had left behind.
    folder = next(Path("v/runs").iterdir())
    _, turns = read_records(folder)
    assert any(t.turn and t.cached_tokens < 96 for t in turns)
    counts = json.loads((folder / "counts.json").read_text())
    assert counts["scheduler"] == ("ContinuumAsyncScheduler" if asynchronous else "ContinuumScheduler")
    steps = read_steps(folder / "steps.jsonl")
    ahead = [after.start_s < before.end_s for before, after in pairwise(steps)]
    assert sum(ahead) > 0.9 * len(ahead) if asynchronous else not any(ahead)


def test_pins_of_a_gemma_hold_the_same_blocks_in_every_group(trace: Path) -> None:
    """Five groups with windows of 128 tokens and one that keeps all, in memory that holds some programs at a time."""
    code = run(
        *("validate", "--trace", "trace.jsonl", "--policies", "ttl-static:ttl=0.2", "--repeats", "1"),
        *("--model", "tiny-gemma3", "--kv-blocks", "90", "--step-time", "fitted:rough.json", "--tolerance", "100"),
        *("--engine-arg", "prefix_cache_retention_interval=32", "--out", "v", *small_flags()),
    )
    assert code == 0
    facts = json.loads(Path("v/engine.json").read_text())
    assert [group["kind"] for group in facts["kv_cache_groups"]] == ["sliding"] * 5 + ["full"]
    assert {group["window"] for group in facts["kv_cache_groups"]} == {0, 128}
    (found,) = json.loads(Path("v/report.json").read_text())["policies"]
    again = found["reenacted"]
    assert again["same_steps"] > 0.98
    assert again["cached_equal"] > 0.98
    assert found["pins"]["pins_made"]["measured"]["value"] > 0


NGRAM = "ngram:num_speculative_tokens=3,prompt_lookup_max=3,prompt_lookup_min=1"


def test_drafts_are_counted_as_vllm_counts_them_and_every_step_is_the_simulators(trace: Path) -> None:
    """The tiny model soon repeats itself, so that n-grams are found in what it said; at first there are none."""
    from vllm.v1.metrics.reader import get_metrics_snapshot

    def counted() -> dict[str, int]:
        found = {metric.name: metric for metric in get_metrics_snapshot() if "spec_decode" in metric.name}
        return {name.removeprefix("vllm:spec_decode_num_"): getattr(m, "value", 0) for name, m in found.items()}

    code = run(
        *("validate", "--trace", "trace.jsonl", "--policies", "program-fifo", "--repeats", "1", "--draws", "2"),
        *("--kv-blocks", "20", "--step-time", "fitted:rough.json", "--tolerance", "100", "--out", "v"),
        *("--speculative-config", NGRAM, *small_flags()),
    )
    assert code == 0
    folder = next(Path("v/runs").iterdir())
    verified = [counts for step in read_steps(folder / "steps.jsonl") for counts in step.verified.values()]
    # The last engine's, with its warm-up.
    told = counted()
    assert told["drafts"] == sum(drafts > 0 for drafts, _ in verified) > 0
    assert told["draft_tokens"] == sum(drafts for drafts, _ in verified)
    assert told["accepted_tokens"] == sum(accepted for _, accepted in verified) > 0
    assert any(drafts == 0 for drafts, _ in verified)
    rates = json.loads(Path("v/engine.json").read_text())["drafting"]["acceptance_rates"]
    assert len(rates) == 3
    assert 0 < rates[2] <= rates[1] <= rates[0] < 1
    (found,) = json.loads(Path("v/report.json").read_text())["policies"]
    again = found["reenacted"]
    assert again["same_steps"] > 0.98
    assert again["cached_equal"] > 0.98
    assert abs(again["jct_error"]) < 0.01
    # Other tokens than those that acceptance was measured with.
    assert found["drafts"]["tokens_per_step"]["error"] == pytest.approx(0.0, abs=0.25)


@pytest.mark.repeats  # CI runs a paced validation every day
def test_an_engine_is_held_to_a_gpus_pace(trace: Path) -> None:
    """Nothing is calibrated, no step is faster than the GPU's, and times come out as predicted."""
    code = run(
        *("validate", "--trace", "trace.jsonl", "--policies", "program-fifo", "--repeats", "1", "--kv-blocks", "200"),
        *("--pace", "llama-3.1-8b@rtx-4090", "--tolerance", "0.5", "--out", "v", *small_flags()),
    )
    assert code == 0
    assert engine_processes() == []
    assert not Path("v/fitted.json").exists()
    report = json.loads(Path("v/report.json").read_text())
    assert report["notes"][0].startswith("the engine was held to the pace of Llama-3.1-8B on RTX-4090 (roofline)")
    assert 0.98 < report["policies"][0]["engine_pace"] < 1.5
    steps = time_steps(read_steps(next(Path("v/runs").iterdir()) / "steps.jsonl"))
    decodes = [step.seconds for step in steps if step.batch.decode_requests and not step.batch.prefill_tokens]
    times = parse_pace("llama-3.1-8b@rtx-4090").times()
    # Only on average, because the step after a late one catches up.
    assert sum(decodes) > 0.95 * len(decodes) * times.step_s(StepBatch(0, 0, 0, 0, 1, 100))


@pytest.mark.repeats  # and one that calibrates
def test_a_calibration_of_the_real_engine(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("calibrate", "--out", "cal/fitted.json", *small_flags(), "--kv-blocks", "60") == 0
    said = capsys.readouterr().err
    assert "points: about" in said
    written = json.loads(Path("cal/fitted.json").read_text())
    assert written["kind"] == "calibrated"
    provenance = written["provenance"]
    assert provenance["version"]
    assert provenance["num_gpu_blocks"] == 60
    assert provenance["residuals"]["steps"] > 100
    # From engine to client and back takes some time, but not long.
    assert 0 < provenance["delays"]["median_submit_s"] < 0.1
    assert 0 < provenance["delays"]["median_answer_s"] < 0.1
    assert sorted(p.name for p in Path("cal").iterdir()) == ["fitted.json", "fitted.png", "fitted.points.jsonl"]
    assert engine_processes() == []


def test_an_engine_that_cannot_start_says_why(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(
        *("validate", "--trace", "trace.jsonl", "--policies", "lru", "--step-time", "fitted:rough.json"),
        *("--kv-blocks", "4", "--out", "v", *small_flags()),
    )
    assert code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: vLLM did not start: ")
    assert "KV cache" in error
    assert "engine.log" in error
    assert engine_processes() == []


def test_an_unknown_engine_argument_is_named(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "--trace", "trace.jsonl", "--policies", "lru", "--engine-arg", "colour=red") == 2
    assert "--engine-arg colour" in capsys.readouterr().err.splitlines()[-1]


def test_an_engine_that_is_killed_is_reported_and_cleared_away(tmp_path: Path) -> None:
    async def scene() -> str:
        engine = await InProcess(EngineOptions(model="tiny", **SMALL), tmp_path)(None, {}, tmp_path / "run", None)
        try:
            with pytest.raises(EngineError, match="refused too-long"):
                await engine.turn(TurnRequest("too-long", [9] * 600, 5))
            turns = [asyncio.create_task(engine.turn(TurnRequest(f"t{i}", [9] * 50, 400))) for i in range(3)]
            await asyncio.sleep(0.3)
            for pid in engine.pids:
                if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
            ends = await asyncio.gather(*turns, return_exceptions=True)
            assert all(isinstance(end, EngineError) for end in ends)
            return str(ends[0])
        finally:
            await engine.close()

    message = asyncio.run(scene())
    assert "vLLM died during t0" in message
    assert "engine.log" in message
    assert engine_processes() == []


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.repeats(share=3)), signal.SIGTERM])
def test_an_interrupted_validation_takes_its_engine_along(trace: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "continuum_sim", "validate", "--trace", "trace.jsonl", "--policies", "lru"]
    command += ["--step-time", "fitted:rough.json", "--out", "v", *small_flags()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    family: set[int] = set()
    deadline_s = time.monotonic() + 180
    # The run's step log shows that its engine is up and the replay about to start.
    while not list(Path("v/runs").glob("*/steps.jsonl")) and time.monotonic() < deadline_s:
        assert process.poll() is None
        time.sleep(0.1)
        family.update(descendants([process.pid]))
    family.update(descendants([process.pid]))
    assert family
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert error.splitlines()[-1].startswith("error: interrupted")
    deadline_s = time.monotonic() + 10  # Python's resource tracker ends a moment after its parent
    while (left := [pid for pid in family if _is_running(pid)]) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
