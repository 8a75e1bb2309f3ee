"""`continuum-sim run`, as a user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from support.cli import cli

FEW = ("--limit", "5", "--max-turns", "6", "--arrivals", "poisson:rate=2", "--kv-blocks", "1300")


def test_the_table_says_what_ran_and_where_time_went(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = cli(capsys, "run", "--policy", "ttl-static:ttl=1", *FEW)
    assert (code, err) == (0, "")
    assert "swebench.jsonl: 5 programs, 30 turns; arrivals poisson:rate=2, seed 0" in out
    assert "Llama-3.1-8B on A100-80: 1,300 KV blocks of 16 tokens, max_num_batched_tokens 2048" in out
    for word in ("JCT", "queue", "prefill", "decode", "tool", "pins", "broken", "peak", "turns/s"):
        assert word in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_json_is_the_summary_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = cli(capsys, "run", "--policy", "lru", *FEW, "--json")
    assert code == 0
    summary = json.loads(out)
    assert list(summary)[:4] == ["policy", "trace", "arrivals", "seed"]
    assert summary["programs"] == 5
    for key in ("jct_s", "queue_wait_s", "ttft_s"):
        assert list(summary[key]) == ["mean", "p50", "p90", "p95", "p99", "max"]
    assert set(summary["prefill"]) == {"computed_tokens", "cached_tokens", "recomputed_tokens"}
    assert set(summary["pins"]) == {"made", "hit", "expired", "broken"}
    assert {"blocks", "peak_used_share", "pinned_block_seconds"} <= set(summary["kv"])
    assert set(summary["throughput"]) == {"programs_per_s", "output_tokens_per_s", "output_tokens_per_gpu_s"}
    assert {"steps", "sim_s", "wall_s", "preemptions", "turns", "notes"} <= set(summary)
    assert all(line.startswith("note: ") for line in err.splitlines())


def test_the_command_line_is_the_library(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = {
        "policy": "ttl:pressure=younger",
        "seed": 3,
        "limit": 6,
        "max_turns": 7,
        "arrivals": "gamma:rate=1,cv=2",
        "model": "qwen3-8b",
        "gpu": "l40s",
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.8,
        "block_size": 32,
        "max_num_batched_tokens": 1024,
        "max_num_seqs": 16,
        "max_model_len": 30000,
        "kv_blocks": 900,
        "watermark": 0.01,
        "engine": "stepwise",
    }
    arguments = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", value)]
    code, out, _ = cli(capsys, "run", *arguments, "--json", "--out", tmp_path / "run")
    assert code == 0
    ours: dict[str, Any] = json.loads(out)
    theirs = cs.run(**flags)  # type: ignore[arg-type]
    expected = json.loads(theirs.summary.to_json())
    for summary in (ours, expected):
        del summary["wall_s"]
    assert ours == expected
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    for key in ("policy", "arrivals", "engine_config", "model", "gpu", "tensor_parallel_size", "step_time", "trace"):
        assert manifest[key] == json.loads(json.dumps(theirs.manifest[key])), key
    assert manifest["command"][:4] == ["continuum-sim", "run", "--policy", "ttl:pressure=younger"]


def test_the_same_seed_gives_the_same_bytes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert cli(capsys, "run", *FEW, "--decisions", "--out", tmp_path / name)[0] == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "decisions.jsonl",
        "manifest.json",
        "programs.parquet",
        "summary.json",
        "timeline.parquet",
        "turns.parquet",
    ]
    for name in files:
        first, second = ((tmp_path / run / name).read_text("latin-1").splitlines() for run in "ab")
        differing = [line for line, other in zip(first, second, strict=True) if line != other]
        allowed = ("wall_s", "created_at", str(tmp_path)) if name == "manifest.json" else ("wall_s",)
        assert all(any(word in line for word in allowed) for line in differing), (name, differing)


def test_results_are_replaced_by_force_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli(capsys, "run", *FEW, "--out", out)[0] == 0
    code, _, err = cli(capsys, "run", *FEW, "--out", out)
    assert (code, err.count("\n")) == (2, 1)
    assert "earlier results" in err
    assert cli(capsys, "run", *FEW, "--seed", 1, "--out", out, "--force")[0] == 0
    assert cs.load_run(out).summary.seed == 1


def test_arrivals_come_from_the_trace_where_it_has_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    turns = '"turns":[{"input_tokens":9,"kept_tokens":0,"output_tokens":2,"tool":null,"tool_s":0}]'
    path = tmp_path / "timed.jsonl"
    path.write_text(f'{{"program_id":"a","arrival_s":4.5,{turns}}}\n')
    code, out, _ = cli(capsys, "run", "--trace", path, "--json")
    assert (code, json.loads(out)["arrivals"]) == (0, "trace")
    code, out, _ = cli(capsys, "run", "--trace", path)
    assert "arrivals trace (default)" in out
    path.write_text(f'{{"program_id":"a",{turns}}}\n')
    code, out, _ = cli(capsys, "run", "--trace", path)
    assert "arrivals poisson:rate=0.1 (default)" in out


def test_a_pipe_is_a_trace_too() -> None:
    command = f"{sys.executable} -m continuum_sim run --json --trace <(head -n 3 traces/data/swebench.jsonl)"
    root = Path(__file__).parents[3]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["programs"] == 3


def test_progress_is_drawn_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, out, err = cli(capsys, "run", *FEW)
    assert "0 of 5 programs" in err
    assert "\x1b[" in out
    monkeypatch.delenv("FORCE_COLOR")
    assert cli(capsys, "run", *FEW)[2] == ""


@pytest.mark.parametrize("kind", ["run", "compare"])
def test_ctrl_c_leaves_nothing_and_says_so(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-m", "continuum_sim", kind, "--out", str(tmp_path / "out")]
    # Stepwise and with little memory: takes minutes if nobody interrupts it.
    command += ["--engine", "stepwise", "--kv-blocks", "6000", "--max-model-len", "70000", "--arrivals", "burst"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.parquet")):
        assert time.monotonic() < deadline, "never started"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert re.fullmatch(r"error: interrupted after \d+ of .*; nothing was written\n", err)
    assert list(tmp_path.iterdir()) == []


def test_help_names_vllms_flags_and_imports_little() -> None:
    text = subprocess.check_output(
        [sys.executable, "-m", "continuum_sim", "run", "--help"], text=True, env={**os.environ, "COLUMNS": "120"}
    )
    for flag in (
        "--model",
        "--gpu",
        "--tensor-parallel-size",
        "--gpu-memory-utilization",
        "--block-size",
        "--max-num-batched-tokens",
        "--max-num-seqs",
        "--max-model-len",
        "--kv-blocks",
        "--watermark",
    ):
        assert flag in text
    loaded = "import sys, continuum_sim.cli; print([m for m in ('numpy', 'simpy', 'pyarrow') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True).strip() == "[]"
