"""The plug-in in a real engine on the CPU: in this process, scheduling in both ways, and behind vLLM's server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.results.decisions import DecisionRecord, read_decisions
from continuum_sim.steptime import Calibrated, save_fitted
from continuum_sim.traces import write_programs
from continuum_sim.validate.engines.processes import descendants
from continuum_sim.validate.plugin import SCHEDULER_CLS
from continuum_sim.validate.session.files import read_records
from continuum_sim.validate.session.tiny import write_tiny_model
from support import engine_run
from support.cli import printed
from support.programs import program, turn

pytestmark = [pytest.mark.engine, pytest.mark.slow]

TESTS = Path(__file__).parents[2]
START_S = 240.0
END_S = 20.0
"""Time within which an engine's processes end after its shutdown, on a busy machine."""


@pytest.fixture(autouse=True)
def _needs_vllm() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS), "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_CPU_KVCACHE_SPACE": "1"}


def members(group: int) -> list[str]:
    """Return command lines of a group's living processes (zombies wait for init, not for us)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append((stat.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended meanwhile
    return found


def ended(group: int, within_s: float = 20.0) -> bool:
    """Return True if every process of a group ends in time."""
    until_s = time.monotonic() + within_s
    while members(group) and time.monotonic() < until_s:
        time.sleep(0.2)
    return not members(group)


def events(log: list[DecisionRecord], program: str) -> list[str]:
    return [entry.event for entry in log if entry.program == program]


@pytest.mark.parametrize("asynchronous", [pytest.param(False, marks=pytest.mark.repeats(share=2)), True])
def test_pins_survive_in_an_engine_and_nothing_leaks(
    tmp_path: Path, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    others = set(descendants())
    found = asyncio.run(engine_run.run(tmp_path, "pin-forever", asynchronous))
    # Other requests used all of the memory, so only pinned blocks remain of what had been computed.
    assert found["cached"]["a1"] == 10 * 32
    assert found["cached"]["b1"] == 0
    assert found["reset"]
    log = read_decisions(tmp_path / "decisions.jsonl")
    assert events(log, "a")[:5] == ["arrive", "admit", "pin", "arrive", "admit"]
    assert events(log, "b") == ["arrive", "admit", "release"]
    assert events(log, "c") == ["arrive", "admit", "abort"]
    assert not [entry for entry in log if entry.program.startswith("stranger")]
    counts = json.loads((tmp_path / "decisions.counts.json").read_text())
    assert counts["scheduler"] == ("ContinuumAsyncScheduler" if asynchronous else "ContinuumScheduler")
    names = [entry.event for entry in log]
    assert counts["counts"]["pins_made"] == names.count("pin") == 7
    assert counts["counts"]["pins_broken"] >= names.count("break") > 0
    until_s = time.monotonic() + END_S
    while left := running(set(descendants()) - others):
        assert time.monotonic() < until_s, left
        time.sleep(0.1)


def running(pids: set[int]) -> dict[int, bytes]:
    """Return command lines of those still running; Python's tracker of shared memory ends with this process."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for one that has ended
    return {pid: line for pid, line in found.items() if line and b"resource_tracker" not in line}


class Server:
    """A running OpenAI server."""

    def __init__(self, folder: Path, policy: str) -> None:
        self.model = str(write_model_with_tokenizer(folder / "model"))
        self.log_path = folder / "decisions.jsonl"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.counts_path = folder / "counts.json"
        files = {"decisions": str(self.log_path), "counts": str(self.counts_path)}
        settings = {"continuum": {"policy": policy, **files}}
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", self.model]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--load-format", "dummy", "--enforce-eager"]
        command += ["--dtype", "float32", "--max-model-len", "1984", "--num-gpu-blocks-override", "200"]
        command += ["--block-size", "32", "--max-num-batched-tokens", "256", "--max-num-seqs", "8"]
        command += ["--enable-prompt-tokens-details"]
        command += ["--scheduler-cls", SCHEDULER_CLS, "--additional-config", json.dumps(settings)]
        self.output = folder / "server.log"
        self.process = subprocess.Popen(
            command,
            env=environment(),
            stdout=self.output.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self) -> None:
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s and self.process.poll() is None:
            try:
                self.open("/health").close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise AssertionError(self.output.read_text()[-3000:])

    def open(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        data = None if body is None else json.dumps({"model": self.model, **body}).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json", **named}
        )
        return urllib.request.urlopen(request, timeout=60)

    def ask(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        with self.open(path, body, **headers) as answer:
            return json.loads(answer.read())

    def log(self) -> list[DecisionRecord]:
        return read_decisions(self.log_path) if self.log_path.exists() else []

    def counts(self) -> Counter[str]:
        return Counter(json.loads(self.counts_path.read_text())["counts"] if self.counts_path.exists() else {})

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        finally:
            if members(self.process.pid):
                os.killpg(self.process.pid, signal.SIGKILL)


def write_model_with_tokenizer(folder: Path) -> Path:
    """Write a tiny model with the words w0, w1, … as vocabulary, so that the chat route works."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    write_tiny_model(folder, max_position_embeddings=2048)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(1024)}, unk_token="w1023"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w1023", bos_token="w0", eos_token="w1")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests, because a start takes a minute."""
    running = Server(tmp_path_factory.mktemp("server"), "ttl-static:ttl=60")
    try:
        running.wait()
        yield running
    finally:
        running.stop()


def test_a_server_is_validated_over_http(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    turns = (turn(100, 20, gap=0.1), turn(200, 20, gap=0.1), turn(260, 10))
    write_programs(tmp_path / "trace.jsonl", [program(name, *turns, at=0.05 * n) for n, name in enumerate("abcd")])
    save_fitted(Calibrated(0.003, 8e-5, 1e-3, 5e-7, 2.6e-8, 6e-5, 3.5e-7, 0), tmp_path / "rough.json")
    before = server.counts()
    printed(
        capsys,
        *("validate", "--trace", "trace.jsonl", "--policies", "ttl-static:ttl=60", "--repeats", "1", "--out", "v"),
        *("--step-time", "fitted:rough.json", "--tolerance", "100", "--vocab-size", "1000"),
        *("--base-url", f"http://127.0.0.1:{server.port}", "--max-num-batched-tokens", "256", "--max-num-seqs", "8"),
    )
    facts = json.loads(Path("v/engine.json").read_text())
    assert (facts["num_gpu_blocks"], facts["block_size"], facts["max_model_len"]) == (200, 32, 1984)
    (folder,) = Path("v/runs").iterdir()
    _, records = read_records(folder)
    # Of 119 tokens with KV 3 blocks are full, of 219 there are 6.
    assert [record.cached_tokens for record in sorted(records)] == [0, 96, 192] * 4
    until_s = time.monotonic() + 20
    while (counts := server.counts() - before)["pins_hit"] != 8 and time.monotonic() < until_s:
        time.sleep(0.2)
    assert (counts["pins_made"], counts["pins_hit"]) == (8, 8)


def test_a_server_takes_programs_over_http_and_stops_without_orphans(server: Server) -> None:
    before = len(server.log())
    greedy = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
    messages = [{"role": "user", "content": " ".join(f"w{i}" for i in range(2, 300))}]
    first = server.ask("/v1/chat/completions", {"messages": messages, "vllm_xargs": {"program_id": "chat"}, **greedy})
    messages += [
        {"role": "assistant", "content": first["choices"][0]["message"]["content"]},
        {"role": "user", "content": "w5 " * 50},
    ]
    extra = {"program_id": "chat", "previous_tool": "ls", "last_turn": True}
    server.ask("/v1/chat/completions", {"messages": messages, "vllm_xargs": extra, **greedy})
    chat = [entry for entry in server.log()[before:] if entry.program == "chat"]
    assert [entry.event for entry in chat] == ["arrive", "admit", "pin", "arrive", "admit", "release"]
    context = first["usage"]["total_tokens"] - 1  # the last token sampled has no KV
    assert chat[4].detail == {"cached_tokens": context // 32 * 32}
    assert chat[5].detail == {"last": True, "tool": None}

    plain = {"prompt": list(range(300, 500)), **greedy}
    server.ask("/v1/completions", plain, X_Session_ID="by-header")
    server.ask("/v1/completions", {**plain, "session_id": "by-field", "vllm_xargs": {"tool": "cat"}})
    server.ask("/v1/completions", plain)
    log = server.log()[before:]
    assert events(log, "by-header") == events(log, "by-field") == ["arrive", "admit", "pin"]
    assert [e.detail["tool"] for e in log if e.event == "pin"] == [None, None, "cat"]
    assert {entry.program for entry in log} == {"chat", "by-header", "by-field"}

    # The front end finds stop strings and aborts the request, which still ends the turn.
    word = server.ask("/v1/completions", plain)["choices"][0]["text"].split()[2]
    server.ask("/v1/completions", {**plain, "stop": [word], "vllm_xargs": {"program_id": "stopped"}})
    answer = server.open(
        "/v1/completions", {**plain, "max_tokens": 1500, "stream": True, "vllm_xargs": {"program_id": "gone"}}
    )
    answer.readline()
    answer.close()  # the client disconnects
    until_s = time.monotonic() + 20
    while "abort" not in events(server.log()[before:], "gone") and time.monotonic() < until_s:
        time.sleep(0.2)
    assert events(server.log()[before:], "stopped") == ["arrive", "admit", "pin"]
    assert events(server.log()[before:], "gone") == ["arrive", "admit", "abort"]
    assert server.stop() == 0
    assert ended(server.process.pid)


@pytest.mark.repeats  # the refusal itself is tested on vLLM's scheduler every day
def test_a_wrong_setting_is_told_in_the_log_and_the_server_does_not_start(tmp_path: Path) -> None:
    server = Server(tmp_path, "oracle-ttl")
    try:
        assert server.process.wait(timeout=START_S) != 0
    finally:
        server.stop()
    assert "policy 'oracle-ttl' looks ahead, so it runs in the simulator only" in server.output.read_text()
