"""The commands: exit codes, one-line errors, and what needs no vLLM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from continuum_sim.cli import main
from continuum_sim.steptime import Calibrated, StepBatch, load_fitted, save_fitted
from continuum_sim.traces import write_programs
from support.fake_server import FakeServer, serving
from support.programs import program, turn

pytestmark = pytest.mark.usefixtures("short_trace")


@pytest.fixture
def short_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    programs = [program(name, turn(64, 12, gap=0.05), turn(100, 12), at=0.1 * i) for i, name in enumerate("abc")]
    write_programs(tmp_path / "trace.jsonl", programs)
    # The fake server's steps: 40 ms for a prefill, 10 ms for a decode.
    save_fitted(Calibrated(0.01, 0, 0.03, 0, 0, 0, 0, 0), tmp_path / "right.json")
    save_fitted(Calibrated(0.03, 0, 0.03, 0, 0, 0, 0, 0), tmp_path / "wrong.json")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def validate(server: FakeServer, *arguments: str, step_time: str = "right.json") -> int:
    known = ("--max-num-batched-tokens", "256", "--max-num-seqs", "16", "--vocab-size", "1000", "--repeats", "1")
    what = ("--trace", "trace.jsonl", "--policies", "lru", "--step-time", f"fitted:{step_time}", "--draws", "1")
    return run("validate", "--base-url", server.url, *known, *what, *arguments)


def test_within_the_tolerance_is_0_and_beyond_it_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(FakeServer(first_token_s=0.04, token_s=0.01)) as server:
        assert validate(server, "--tolerance", "0.2", "--out", "good", "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert report["passed"] is True
        assert report["policies"][0]["error_split"] is None  # a server shows no steps
        assert report["policies"][0]["pins"] == {}
        assert validate(server, "--tolerance", "0.2", "--out", "bad", step_time="wrong.json") == 1
        shown = capsys.readouterr().out
        assert "a mean JCT is not within 20.0%" in shown
        assert "unknown" in shown  # preemptions
    assert Path("good/report.html").exists()
    assert {body["vllm_xargs"]["program_id"] for body in server.asked if "vllm_xargs" in body} == {"a", "b", "c"}


def test_a_pace_needs_an_engine_to_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "--recorded", "log.csv", "--pace", "llama-3.1-8b@rtx-4090") == 2
    assert "--pace llama-3.1-8b@rtx-4090 holds the steps of an engine, and --recorded starts none" in (
        capsys.readouterr().err.replace("\n", " ")
    )


def test_the_answer_continues_the_conversation() -> None:
    with serving(FakeServer(first_token_s=0.01, token_s=0.001)) as server:
        validate(server, "--tolerance", "10")
    first, second = (next(b for b in server.asked if b["request_id"] == f"a/{index}") for index in (0, 1))
    assert second["prompt"][:76] == first["prompt"] + list(range(20, 32))
    assert second["vllm_xargs"]["last_turn"] == 1


def test_a_server_that_fails_in_the_middle_is_2_and_resume_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(FakeServer(first_token_s=0.01, token_s=0.001, fault="500")) as server:
        # Warm-up and the survey go well; the second program's first turn does not.
        server.faultless = 10_000
        assert validate(server, "--tolerance", "10", "--out", "v") == 0
        asked = len(server.asked)
        server.faultless = asked + 1
        capsys.readouterr()
        assert validate(server, "--tolerance", "10", "--out", "v", "--repeats", "2", "--resume") == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: server http://127.0.0.1")
        assert "500: EngineCore encountered an issue" in error
        assert Path("v/runs/r0-lru/run.json").exists()
        server.faultless = 10_000
        assert validate(server, "--tolerance", "10", "--out", "v", "--repeats", "2", "--resume") == 0
    assert Path("v/runs/r1-lru/run.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trace", "nowhere"], "no bundled trace"),
        (["--policies", "ttll"], "did you mean 'ttl'"),
        (["--policies", "oracle-ttl"], "looks ahead"),
        (["--policies", "tokencake"], "moves contexts to host memory"),
        (["--policies", "lru,lru"], "twice"),
        (["--policies", ","], "--policies is empty"),
        (["--scale", "8"], "tokens=8,gaps=4"),
        (["--arrivals", "poison"], "did you mean 'poisson'"),
        (["--step-time", "roofline"], "fitted:FILE"),
        (["--step-time", "fitted:none.json"], "none.json"),
        (["--engine-arg", "dtype"], "key=value"),
        (["--policies", "lru,ttl", "--base-url", "http://127.0.0.1:1"], "1 --base-url for 2 policies"),
        (["--base-url", "http://127.0.0.1:1", "--policies", "lru"], "refused"),
        (["--repeats", "0"], "--repeats"),
    ],
)
def test_wrong_input_is_2_and_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", *arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error


def test_a_calibration_is_not_overwritten_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("calibrate", "--out", "right.json") == 2
    assert "--force" in capsys.readouterr().err


def test_a_server_can_be_calibrated_from_outside(capsys: pytest.CaptureFixture[str]) -> None:
    known = ("--max-num-batched-tokens", "64", "--max-num-seqs", "4", "--vocab-size", "1000")
    small = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="12"} 1.0\n'
    with serving(FakeServer(first_token_s=0.003, token_s=0.002, metrics=small, max_model_len=96)) as server:
        assert run("calibrate", "--base-url", server.url, "--out", "served.json", *known, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == "served.json"
    assert told["residuals"]["steps"] > 0
    written = json.loads(Path("served.json").read_text())
    assert written["kind"] == "calibrated"
    assert written["provenance"]["measured_by"] == "client"
    assert written["c0_s"] < 0.01
    # A decode takes the server 2 ms at least, however the fit shares it out among its terms on a busy machine.
    assert load_fitted(Path("served.json")).step_s(StepBatch(0, 0, 0, 0, 1, 64)) > 0.001
    assert Path("served.png").exists()


def test_help_imports_neither_vllm_nor_the_simulator() -> None:
    script = (
        "import sys\nfrom continuum_sim.cli import main\n"
        "try:\n    main(['validate', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'vllm', 'torch', 'numpy', 'simpy'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
