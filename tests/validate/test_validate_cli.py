"""The commands: exit codes, one-line errors, and everything that needs no vLLM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from continuum_sim.cli import main
from continuum_sim.cli.app import app
from continuum_sim.setup.run_config import run_settings
from continuum_sim.steptime import Calibrated, StepBatch, load_fitted, save_fitted
from continuum_sim.traces import write_programs
from continuum_sim.validate.engines.options import EngineOptions
from support.cli import printed, refused
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


KNOWN = ("--max-num-batched-tokens", "256", "--max-num-seqs", "16", "--vocab-size", "1000")
WHAT = ("--trace", "trace.jsonl", "--policies", "lru", "--draws", "1", "--step-time")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def validate(server: FakeServer, *arguments: str, step_time: str = "right.json") -> int:
    once = ("--repeats", "1", "--base-url", server.url)
    return run("validate", *once, *KNOWN, *WHAT, f"fitted:{step_time}", *arguments)


def test_within_the_tolerance_is_0_and_beyond_it_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(FakeServer(first_token_s=0.04, token_s=0.01)) as server:
        asked = ("--no-async-scheduling", "--tolerance", "0.2", "--out")  # it takes no time to plan
        assert validate(server, *asked, "good", "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert report["passed"] is True
        assert report["policies"][0]["error_split"] is None  # a server shows no steps
        assert report["policies"][0]["pins"] == {}
        assert validate(server, *asked, "bad", step_time="wrong.json") == 1
        shown = capsys.readouterr().out
        assert "a mean JCT is not within 20.0%" in shown
        assert "unknown" in shown  # preemptions
    assert Path("good/report.html").exists()
    assert {body["vllm_xargs"]["program_id"] for body in server.asked if "vllm_xargs" in body} == {"a", "b", "c"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recorded", "log.jsonl"],
        ["--recorded=log.jsonl", "--format", "vllm-bench", "--gpu", "h100", "--force", "--policies", "zzz"],
        ["--gpu", "h100"],
        ["--force"],
    ],
)
def test_who_has_a_log_is_told_of_backtest(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "`continuum-sim backtest LOG`" in refused(capsys, "validate", *arguments)
    assert "--recorded" not in printed(capsys, "validate", "--help")


SERVER = ("--base-url", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("command", "unused", "why"),
    [
        (("validate", *SERVER), ("--model", "tiny"), "the server of --base-url was started with its own"),
        (("validate", *SERVER), ("--tensor-parallel-size", "1"), "started with its own"),
        (("validate", *SERVER), ("--engine-arg", "dtype=float16"), "started with its own"),
        (("validate", *SERVER), ("--pace", "llama-3.1-8b@rtx-4090"), "the server of --base-url runs at its own pace"),
        (("validate",), ("--timeout", "600"), "used only with --base-url"),
        (("validate",), ("--vocab-size", "32000"), "used only with --base-url"),
        (("calibrate", "--out", "new.json", *SERVER), ("--gpu-memory-utilization", "0.5"), "started with its own"),
        (("calibrate", "--out", "new.json", *SERVER), ("--engine-arg", "a=1"), "started with its own"),
        (("calibrate", "--out", "new.json"), ("--timeout", "5"), "used only with --base-url"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused_by_name(
    command: tuple[str, ...], unused: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, *command, *unused)
    assert error.startswith(f"error: {unused[0]}: ")
    assert why in error


def test_of_random_cases_parity_takes_no_trace_and_no_engine(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "parity", "--random", "3", "--limit", "4", "--rate", "1", "--kv-blocks", "8000")
    assert error == "error: --rate, --limit, --kv-blocks: used only with --trace; leave them out\n"
    error = refused(capsys, "parity", "--random", "3", "--no-enable-prefix-caching")
    assert error == "error: --no-enable-prefix-caching: used only with --trace; leave it out\n"


@pytest.mark.parametrize("command", ["validate", "calibrate", "backtest", "parity"])
def test_settings_of_a_run_are_called_and_explained_as_run_does(command: str) -> None:
    own = {"model", "step_time", "seed", "policy"} - ({"model", "step_time"} if command == "backtest" else set())
    options = {option.name: option for option in get_command(app).commands[command].params}  # type: ignore[attr-defined]
    shared = run_settings().keys() & options.keys() - own
    assert shared >= {"kv_blocks", "block_size", "max_num_batched_tokens", "max_num_seqs", "max_model_len"}
    for name in shared:
        setting = run_settings()[name]
        # An option of its own may be switched off as well; as in run, each of the two flags is one.
        both = setting.is_switch and not options[name].secondary_opts
        option = options[setting.flag.removeprefix("--").replace("-", "_")] if both else options[name]
        pair = [*option.opts, *option.secondary_opts] == list(setting.switches)
        assert pair or option.opts == [setting.flag, *setting.about.flags]
        assert option.help.startswith((setting.about.either if pair else setting.about.help).removesuffix("."))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kv-blocks", "1"], "kv_blocks is 1, expected a whole number of at least 2"),
        (["--limit", "0"], "limit is 0, expected a whole number of at least 1"),
        (["--rate", "-1"], "rate is -1"),
        (["--rate", "1", "--arrivals", "burst"], "rate 1 and arrivals burst both say when programs arrive"),
        (["--tp", "0"], "tensor_parallel_size is 0"),
    ],
)
def test_a_setting_has_the_bounds_that_it_has_in_run(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "validate", *arguments)
    assert said in refused(capsys, "run", *arguments)


def test_an_engine_is_started_as_the_command_line_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[EngineOptions] = []
    name = "continuum_sim.validate.calibration.command.calibrate_engine"
    monkeypatch.setattr(name, lambda out, options, start, **more: asked.append(options))
    sizes = ("--tp", "2", "--kv-blocks", "99", "--block-size", "32", "--max-num-batched-tokens", "64")
    limits = ("--max-num-seqs", "8", "--max-model-len", "512", "--gpu-memory-utilization", "0.5")
    assert run("calibrate", "--out", "a.json", *sizes, *limits, "--async-scheduling", "--engine-arg", "seed=7") == 0
    assert run("calibrate", "--out", "b.json") == 0
    assert asked == [
        EngineOptions(
            model="tiny",
            tensor_parallel_size=2,
            num_gpu_blocks_override=99,
            block_size=32,
            max_num_batched_tokens=64,
            max_num_seqs=8,
            max_model_len=512,
            gpu_memory_utilization=0.5,
            async_scheduling=True,
            extra={"seed": 7},
        ),
        EngineOptions(model="tiny"),
    ]


def test_all_options_that_would_do_nothing_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "validate", *SERVER, "--engine-arg", "a=1", "--model", "tiny", "--kv-blocks", "99")
    assert error.startswith("error: --model, --engine-arg: ")


def test_the_answer_continues_the_conversation() -> None:
    with serving(FakeServer(first_token_s=0.01, token_s=0.001)) as server:
        validate(server, "--tolerance", "10")
    first, second = (next(b for b in server.asked if b["request_id"] == f"a/{index}") for index in (0, 1))
    assert second["prompt"][:76] == first["prompt"] + list(range(20, 32))
    assert second["vllm_xargs"]["last_turn"] == 1


def test_a_server_is_taken_to_plan_ahead_unless_told_and_resumed_as_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def planned(out: str) -> tuple[object, object]:
        facts, manifest = (json.loads(Path(out, name).read_text()) for name in ("engine.json", "manifest.json"))
        return facts["async_scheduling"], manifest["server"].get("async_scheduling")

    with serving(FakeServer(first_token_s=0.01, token_s=0.001)) as server:
        assert validate(server, "--tolerance", "10", "--out", "ahead") == 0
        assert planned("ahead") == (True, True)
        # Earlier versions wrote nothing of a server that plans one step after the other, their default.
        assert validate(server, "--tolerance", "10", "--out", "after", "--no-async-scheduling") == 0
        assert planned("after") == (False, None)
        assert validate(server, "--tolerance", "10", "--out", "after", "--resume") == 0
        assert planned("after") == (False, None)
        capsys.readouterr()
        assert validate(server, "--tolerance", "10", "--out", "after", "--resume", "--async-scheduling") == 2
        assert "after was started with server" in capsys.readouterr().err


def test_a_server_that_fails_in_the_middle_is_2_and_resume_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(FakeServer(first_token_s=0.01, token_s=0.001, fault="500")) as server:
        same = ("validate", "--base-url", server.url, *KNOWN, *WHAT, "fitted:right.json", "--out", "v")
        # Warm-up and the survey go well; the second program's first turn does not.
        server.faultless = 10_000
        assert run(*same, "--tolerance", "10", "--repeats", "1") == 0
        asked = len(server.asked)
        server.faultless = asked + 1
        capsys.readouterr()
        assert run(*same, "--tolerance", "10", "--repeats", "2", "--resume") == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: server http://127.0.0.1")
        assert "500: EngineCore encountered an issue" in error
        assert Path("v/runs/r0-lru/run.json").exists()
        for other, said in (
            (("--vocab-size", "999"), "v was started with server vocab_size 1000, not 999"),
            (("--rate", "0.5"), 'v was started with arrivals "trace", not "poisson:rate=0.5"'),
        ):
            assert said in refused(capsys, *same, "--resume", *other)
        server.faultless = 10_000
        assert run(*same, "--tolerance", "10", "--timeout", "300", "--resume") == 0
    assert Path("v/runs/r1-lru/run.json").exists()  # the two repeats requested last
    assert not Path("v/runs/r2-lru").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trace", "nowhere"], "nor a bundled trace"),
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
    # As long as the server's own tokens were apart: 2 ms, more on a busy machine.
    step_s = load_fitted(Path("served.json")).step_s(StepBatch(0, 0, 0, 0, 1, 64))
    assert 0.5 * min(server.gaps_s) < step_s < max(server.gaps_s)
    assert Path("served.png").exists()


def test_help_imports_neither_vllm_nor_the_simulator() -> None:
    script = (
        "import sys\nfrom continuum_sim.cli import main\n"
        "try:\n    main(['validate', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'vllm', 'torch', 'numpy', 'simpy'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
