"""Bad input: one clear line on standard error, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.cli import printed, refused

TURN = {"input_tokens": 10, "kept_tokens": 0, "output_tokens": 2, "tool": None, "tool_s": 0}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--policy tll", "unknown policy 'tll', did you mean 'ttl'?"),
        ("--policy ttl:presure=head", "unknown parameter 'presure' of policy ttl, did you mean 'pressure'?"),
        ("--policy ttl:pressure=heads", "pressure is 'heads', expected one of head, deadlock, younger"),
        ("--policy ttl-static:ttl=-1", "ttl is -1.0, expected a finite number of seconds, 0 or more"),
        ("--policy ttl-static:ttl=nan", "ttl is nan"),
        ("--policy ttl-static:ttl=soon", "ttl is 'soon', expected a number"),
        ("--policy ttl-static:2", "not of the form key=value"),
        ("--policy retention=tll", "did you mean 'ttl'?"),
        ("--trace swebnch.jsonl", 'did you mean "swebench.jsonl"?'),
        ("--trace /nowhere/at/all.jsonl", "/nowhere/at/all.jsonl"),
        ("--arrivals poison:rate=1", "did you mean 'poisson'?"),
        ("--arrivals poisson:rate=-1", "rate is -1.0"),
        ("--arrivals poisson:rate=inf", "rate is"),
        ("--arrivals poisson:rat=1", "did you mean 'rate'?"),
        ("--arrivals poisson", "needs rate="),
        ("--arrivals closed:workers=0", "workers is 0"),
        ("--arrivals closed:workers=1.5", "workers is '1.5', expected a whole number"),
        ("--arrivals trace", "arrival_s is missing"),
        ("--arrivals 0.1", "arrivals is '0.1', expected a process as in poisson:rate=0.1, or --rate 0.1"),
        ("--rate 0", "rate is 0.0, expected a number of programs per second above 0"),
        ("--rate x", "--rate is 'x', expected a number"),
        ("--rate 0.1 --arrivals burst", "rate 0.1 and arrivals burst both say when programs arrive; leave one out"),
        ("--seed 0-4", "--seed is '0-4', expected one seed; `compare --seeds 0-4` takes several"),
        (
            "--policies lru,ttl",
            "`run` has no --policies: it takes one policy, --policy; `compare`",
        ),
        ("--seeds 0-4", "`run` has no --seeds: it takes one seed, --seed; `compare` and `sweep` take several"),
        ("--trase x", "unknown option '--trase' of run, did you mean '--trace'? `continuum-sim run -h` lists them"),
        ("-tp x", "--tensor-parallel-size is 'x', expected a whole number"),
        ("--kv-blocks=1e3", "--kv-blocks is '1e3', expected a whole number"),
        ("--seed -1", "seed is -1"),
        ("--seed one", "--seed"),
        ("--limit 0", "limit is 0"),
        ("--tool-workers 0", "tool_workers is '0', expected a whole number of at least 1"),
        ("--tool-workers bash=4", "tool_workers is 'bash=4', expected a whole number"),
        ("--tool-timeout bash:soon", "tool_timeout of tool 'bash' is 'soon', expected seconds above 0"),
        ("--tool-failure-rate 2", "tool_failure_rate is '2', expected a probability from 0 to 1"),
        ("--tool-retries -1", "tool_retries is '-1', expected a whole number from 0"),
        ("--max-turns -3", "max_turns is -3"),
        ("--repeat-turns 0.5", "repeat_turns is 0.5, expected a number of at least 1"),
        ("--model llama-3.1-9b", "did you mean 'Llama-3.1-8B'?"),
        ("--gpu h1000", "did you mean 'H100'?"),
        (
            "--tensor-parallel-size 3",
            "with tp=3: total number of attention heads (32) must be divisible by tensor parallel size (3)",
        ),
        ("--gpu-memory-utilization nan", "gpu_memory_utilization is nan"),
        ("--gpu-memory-utilization 1.5", "gpu_memory_utilization is 1.5"),
        ("--gpu-memory-utilization 0.05", "does not fit"),
        ("--model llama-3.1-70b", "does not fit 1 x A100-80"),
        ("--kv-blocks 0", "kv_blocks is 0"),
        ("--kv-blocks 100", "needs 1244 KV blocks of 16 tokens, but the engine has 99 usable"),
        ("--max-model-len 5000", "above max_model_len 5000"),
        ("--block-size 0", "block_size is 0"),
        ("--max-num-batched-tokens 8 --max-num-seqs 16", "below max_num_seqs"),
        ("--watermark nan", "watermark is nan"),
        ("--watermark -0.1", "watermark is -0.1"),
        ("--step-time rooflin", "did you mean 'roofline'?"),
        ("--step-time fitted:/nowhere.json", "/nowhere.json"),
        ("--engine slow", "--engine is 'slow', expected one of fast, stepwise"),
        (
            "--kv-blocks 1" + 400 * "0",
            "kv_blocks is a number of about 401 digits, expected a whole",
        ),
        (
            "--block-size 9223372036854775808",
            "block_size is 9223372036854775808, expected",
        ),
        ("--max-model-len 1" + 400 * "0", "and at most 1,000,000,000"),
        ("--max-num-seqs 1000000000000", "max_num_seqs is 1000000000000"),
        ("--limit 1000000000000", "limit is 1000000000000"),
        ("--seed 9223372036854775808", "seed is 9223372036854775808"),
        ("--dram-gb 1e300", "dram_gb is 1e+300, expected 0 or more GB, at most 1e+09"),
        ("--dram-gb 100 --dram-gbps 1e-300", "dram_gbps is 1e-300, expected more than 0 GB/s, at least 1e-06"),
        ("--arrivals closed:workers=1000000000000", "at most 1,000,000"),
        ("--repeat-turns 1e9", "repeat_turns is 1000000000.0, expected a number of at least 1, at most 1000"),
        (
            "--policy concur:period=1e-300",
            "period is 1e-300, expected a finite number",
        ),
        ("--policy mars:period=1e-300", "period is 1e-300"),
        ("--policy thunderagent:period=1e-300", "period is 1e-300"),
        ("--dram-gb 1 --policy mori:period=1e-300", "period is 1e-300"),
        ("--decisions", "--out DIR"),
        ("--frobnicate", "--frobnicate"),
        ("--out /proc/nothing/here", "--out /proc/nothing/here cannot be made"),
    ],
)
def test_run_refuses(capsys: pytest.CaptureFixture[str], arguments: str, complaint: str) -> None:
    assert complaint in refused(capsys, "run", *arguments.split())


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not valid JSON"),
        ("", "no program in it"),
        (json.dumps({"program_id": "b", "turns": []}), "turns is empty"),
        (json.dumps({"program_id": "b", "turns": [{**TURN, "output_tokens": -1}]}), "turns[0].output_tokens is -1"),
        (json.dumps({"program_id": "b", "turns": [{**TURN, "input_tokens": 1.5}]}), "turns[0].input_tokens is 1.5"),
        (json.dumps({"program_id": "b", "turns": [{**TURN, "kept_tokens": 3}]}), "turns[0].kept_tokens is 3"),
        (
            json.dumps({"program_id": "b", "turns": [{**TURN, "tool": "ls"}, {**TURN, "kept_tokens": 13}]}),
            "turns[1].kept_tokens is 13, expected an integer from 0 to",
        ),
        (
            json.dumps({"program_id": "b", "turns": [{**TURN, "tool": "ls", "tool_s": float("nan")}, TURN]}),
            "NaN",
        ),
        (json.dumps({"program_id": "b", "turns": [{**TURN, "tool": "ls", "tool_s": -2}, TURN]}), "tool_s is -2"),
        (json.dumps({"program_id": "b", "turns": [{**TURN, "tols": "ls"}]}), "tols is an unknown field, did you mean"),
    ],
)
def test_a_broken_trace_is_refused_with_its_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, complaint: str
) -> None:
    path = tmp_path / "trace.jsonl"
    good = json.dumps({"program_id": "a", "turns": [TURN]}) + "\n" if line else ""
    path.write_text(good + line + "\n")
    said = refused(capsys, "run", "--trace", path, "--out", tmp_path / "out")
    assert complaint in said
    assert (f"{path}:2: " if line else f"{path}: ") in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace.jsonl"]
    assert complaint in refused(capsys, "trace", "stats", path)


def test_a_directory_that_is_no_result_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    for force in ([], ["--force"]):
        assert "not results of this program" in refused(capsys, "run", "--limit", "1", "--out", tmp_path, *force)
    assert "is a file" in refused(capsys, "run", "--limit", "1", "--out", tmp_path / "mine")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--policies", ""], "at least one policy"),
        (["--policies", "lru,lru"], "policy 'lru' appears twice"),
        (["--policies", "lru,tll"], "did you mean 'ttl'?"),
        (["--seeds", "3-1"], "expected whole numbers or ranges"),
        (["--seeds", "1,,2"], "expected whole numbers or ranges"),
        (["--seeds", "1,1"], "seed 1 appears twice"),
        (["--seeds", "0-1000000000000"], "expected at most 100,000 of them"),
        (["--policies", "lru,ttl", "--seeds", "0-99999"], "2 policies and 100,000 seeds make 200,000 runs"),
        (["--baseline", "oracle-ttl"], "is not one of the policies compared"),
        (["--jobs", "0"], "jobs is 0"),
        (["--policy", "lru"], "--policy"),
    ],
)
def test_compare_refuses(capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str) -> None:
    assert complaint in refused(capsys, "compare", "--limit", "2", *arguments)


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'run'" in refused(capsys, "rum")


def test_an_unreadable_trace_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = tmp_path / "trace.jsonl"
    path.touch(mode=0)
    done = subprocess.run(
        [sys.executable, "-m", "continuum_sim", "run", "--trace", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


def test_debug_shows_the_traceback() -> None:
    command = [sys.executable, "-m", "continuum_sim", "run", "--policy", "tll"]
    for arguments, env in (([*command, "--debug"], {}), (command, {"CONTINUUM_SIM_DEBUG": "1"})):
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, env={**os.environ, **env})
        assert "Traceback" in done.stderr
        assert "unknown policy 'tll'" in done.stderr


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from continuum_sim.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    arguments = ["run", "--policy", "ttl", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = f"set -o pipefail; {sys.executable} -m continuum_sim policies --json | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "{\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (
            "run --dram-gbps 50",
            "--dram-gbps does nothing without --dram-gb or --kv-offloading-size; give that too, or leave it out",
        ),
        ("run --ssd-gbps 50 --dram-gb 100", "--ssd-gbps does nothing without --ssd-gb"),
        ("compare --reload always", "--reload does nothing without --dram-gb"),
        ("run --tool-retries 2", "--tool-retries does nothing without --tool-timeout or --tool-failure-rate"),
        ("run --gpu h100 --replicas h100:2", "--gpu does nothing where --replicas names the GPUs"),
        ("run --force", "--force lets --out replace earlier results; say which with --out DIR"),
        ("compare --force", "--force lets --out replace earlier results"),
        ("sweep --vary kv_blocks=5000,6000 --dram-gbps 50 --out x", "--dram-gbps does nothing without --dram-gb"),
        ("sweep tune ttl --reload always", "--reload does nothing without --dram-gb"),
        ("figures x --jobs 2", "--jobs is for --paper"),
        ("trace export bfcl --to aiperf --block-size 4 -o x", "--block-size does nothing for aiperf"),
    ],
)
def test_an_option_that_can_do_nothing_is_refused(
    command: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert complaint in refused(capsys, *command.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "run --dram-gbps 50 --dram-gb 100",
        "run --dram-gbps 50 --replicas h100:2:dram_gb=200",
        "run --tool-retries 2 --tool-failure-rate 0.1",
        "run --gpu h100 --replicas 2",
        "run --config own.toml",
        "sweep --vary dram_gb=0,100 --dram-gbps 50 --jobs 1 --out x",
        "sweep --vary replicas=1;h100:1 --gpu l4 --jobs 1 --out x",
    ],
)
def test_an_option_that_can_do_something_for_some_run_is_not(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings in a file are not refused either: they may be there for other runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text("[base]\ndram_gbps = 50.0\ntool_retries = 3\n")
    printed(capsys, *command.split(), "--limit", "1", "--max-turns", "2")
