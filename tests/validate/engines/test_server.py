"""Servers behind the OpenAI completions API: what is sent, what is read, and everything that can fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.validate.calibration.measure import Prompts
from continuum_sim.validate.calibration.points import Point
from continuum_sim.validate.calibration.probes import ClientProbe, make_probe
from continuum_sim.validate.engines.interface import EngineError, TurnRequest
from continuum_sim.validate.engines.server import ServerEngine, Servers, ServerSettings
from support.fake_server import FakeServer, serving

SETTINGS = ServerSettings(max_num_batched_tokens=256, max_num_seqs=16, vocab_size=1000, timeout_s=0.5)
TURN = TurnRequest("p/0", [5] * 40, 6, "p", "bash", False)


def connect(server: FakeServer, settings: ServerSettings = SETTINGS) -> Coroutine[Any, Any, ServerEngine]:
    return Servers({"ttl": server.url}, settings)("ttl", {}, Path(), None)


def ask(server: FakeServer, request: TurnRequest = TURN) -> Any:
    async def run() -> Any:
        engine = await connect(server)
        try:
            return await engine.turn(request)
        finally:
            await engine.close()

    return asyncio.run(run())


def test_a_turn_is_sent_with_its_identity_and_read_token_by_token() -> None:
    with serving(FakeServer()) as server:
        called_s = time.monotonic()
        answer = ask(server)
    (body,) = server.asked
    assert body["prompt"] == [5] * 40
    assert body["min_tokens"] == body["max_tokens"] == 6
    assert body["ignore_eos"] is True
    assert body["vllm_xargs"] == {"program_id": "p", "tool": "bash", "last_turn": 0}
    assert answer.token_ids == [20, 21, 22, 23, 24, 25]
    assert answer.cached_tokens == 16
    assert answer.queued_s is None
    assert called_s + 0.02 <= answer.first_token_s < answer.finish_s
    assert answer.finish_s >= called_s + 0.02 + 5 * 0.005  # a busy machine reads the first token late
    assert len(answer.token_times_s) == 6


def test_a_stranger_carries_no_identity() -> None:
    with serving(FakeServer(tells_cached=False)) as server:
        answer = ask(server, TurnRequest("warm", [5], 2))
    assert "vllm_xargs" not in server.asked[0]
    assert answer.cached_tokens is None


def test_a_server_tells_its_settings_and_the_user_the_rest() -> None:
    with serving(FakeServer()) as server:
        facts = asyncio.run(connect(server)).facts
        assert (facts.num_gpu_blocks, facts.block_size, facts.max_model_len) == (200, 16, 2048)
        assert (facts.max_num_batched_tokens, facts.vocab_size, facts.version) == (256, 1000, "0.32.0")
        assert facts.model == "fake"
        assert server.url in facts.engine
        with pytest.raises(ConfigError, match="give --max-num-batched-tokens, --max-num-seqs as"):
            asyncio.run(connect(server, ServerSettings()))
        server.metrics = ""
        with pytest.raises(ConfigError, match="give --kv-blocks, --block-size as"):
            asyncio.run(connect(server))
        told = replace(SETTINGS, num_gpu_blocks=30, block_size=32, max_model_len=512, async_scheduling=True)
        facts = asyncio.run(connect(server, told)).facts
        assert (facts.num_gpu_blocks, facts.block_size, facts.max_model_len) == (30, 32, 512)
        assert facts.async_scheduling
        assert facts.async_forced is None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("500", "500: EngineCore encountered an issue"),
        ("silence", "no answer within 0.5 s"),
        ("cut", "p/0"),
        ("error-event", "out of memory"),
        ("short", "4 of 6 token ids"),
        ("no-ids", "0 of 6 token ids"),
    ],
)
def test_every_fault_is_one_clear_line(fault: str, said: str) -> None:
    with serving(FakeServer(fault=fault)) as server, pytest.raises(EngineError) as raised:
        ask(server)
    assert said in str(raised.value)
    assert server.url in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_not_there() -> None:
    with serving(FakeServer()) as server:
        pass
    with pytest.raises(EngineError, match="refused"):
        asyncio.run(connect(server))
    for url in ("", "ftp://here", "http://"):
        with pytest.raises(ConfigError, match="--base-url"):
            asyncio.run(Servers({"ttl": url}, SETTINGS)("ttl", {}, Path(), None))


def test_a_cancelled_turn_breaks_its_connection_off() -> None:
    async def run(server: FakeServer) -> float:
        engine = await connect(server)
        task = asyncio.create_task(engine.turn(TURN))
        await asyncio.sleep(0.1)
        start_s = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine.close()
        return time.monotonic() - start_s

    with serving(FakeServer(fault="silence")) as server:
        assert asyncio.run(run(server)) < 10  # of the 30 s for which the server is silent


def test_a_base_url_may_end_in_v1() -> None:
    with serving(FakeServer()) as server:
        server.url += "/v1/"
        assert ask(server).token_ids[0] == 20


def test_steps_are_measured_from_outside() -> None:
    async def run(server: FakeServer) -> tuple[list[Any], list[Any], list[Any]]:
        engine = await connect(server)
        assert isinstance(make_probe(engine), ClientProbe)
        probe, prompts = ClientProbe(engine), Prompts(1000, __import__("numpy").random.default_rng(0))
        prefill = await probe.measure(Point(new=100, cached=16), prompts)
        decode = await probe.measure(Point(decodes=3, context=32), prompts)
        mixed = await probe.measure(Point(decodes=3, context=32, new=100), prompts)
        await engine.close()
        return prefill, decode, mixed

    with serving(FakeServer(first_token_s=0.25, token_s=0.01)) as server:
        prefill, decode, mixed = asyncio.run(run(server))
    # In the fake server any prefill takes 250 ms: 10 ms of a decode step and 240 ms of round trip.
    assert [step.seconds for step in prefill] == pytest.approx([0.01], abs=0.12)
    assert {step.batch.prefill_tokens for step in prefill} == {100}
    # A server that sleeps 10 ms is late on a busy machine, never early.
    assert 0.008 < decode[0].seconds < 0.12
    assert decode[0].batch.decode_requests == 3
    assert mixed == []
