"""vLLM's own balancer and coordinator beside the simulator's: the same choices and publications, one by one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from continuum_sim.engine.counts import Stamp
from continuum_sim.policies.rules.vllm_balancer import VllmBalancer
from continuum_sim.policies.views import EngineCounts, RoutedTurn
from continuum_sim.world.coordinator import Coordinator

pytestmark = pytest.mark.engine

Message = tuple[int, int, EngineCounts | None, Stamp]
"""(ms, engine, counts, stamp); without counts if it is about waves."""

MS = 1_000_000
DECISIONS, MESSAGES = 4000, 3000


def _client(core_client: Any, engines: list[bytes], index: int, count: int) -> Any:
    client = object.__new__(core_client.DPLBAsyncMPClient)
    client.client_count, client.client_index = count, index
    client.core_engines, client.lb_engines = engines, [[0, 0, 0.0] for _ in engines]
    client.reqs_in_flight, client.engine_inflight = {}, Counter()
    client.streaming_reqs = set()  # 0.33
    client.eng_start_index = (len(engines) * index) // count
    return client


@pytest.mark.parametrize("servers", [None, 1, 2, 5])
@pytest.mark.parametrize("ranks", [2, 4, 7])
def test_the_balancer_chooses_as_vllms_clients_do(ranks: int, servers: int | None) -> None:
    core_client = pytest.importorskip("vllm.v1.engine.core_client", reason="vLLM is not installed")
    rng = np.random.default_rng([ranks, servers or 0])
    engines = [bytes([rank]) for rank in range(ranks)]
    count = servers or ranks
    clients = deque(_client(core_client, engines, index, count) for index in range(count))
    router = VllmBalancer(servers).start()
    views: Any = [SimpleNamespace(number=rank) for rank in range(ranks)]
    in_flight: list[tuple[str, Any]] = []
    for number in range(DECISIONS):
        event = rng.random()
        if event < 0.1:
            counts = [
                EngineCounts(int(rng.integers(9) * (rng.random() < 0.6)), int(rng.integers(40)), rng.random())
                for _ in engines
            ]
            router.counts_published(dict(enumerate(counts)))
            for client in clients:
                client.lb_engines = [list(entry) for entry in counts]
        elif event < 0.5 and in_flight:
            name, client = in_flight.pop(int(rng.integers(len(in_flight))))
            router.turn_ended(name)
            client.engine_inflight[client.reqs_in_flight.pop(name)] -= 1  # `process_engine_outputs`
        else:
            name = f"turn {number}"
            client = clients[0]
            clients.rotate(-1)
            request = SimpleNamespace(request_id=name, data_parallel_rank=None, pooling_params=None, resumable=False)
            expected = engines.index(client.get_core_engine_for_request(request))
            assert router.route(RoutedTurn(name, 0, 0.0, 10, 0, None, 0, None), views, 0.0) == expected, number
            in_flight.append((name, client))


class _OverError(Exception):
    """Every message has been read."""


@dataclass
class _Wire:
    """Virtual time, and sockets over which messages arrive as time passes."""

    messages: deque[Message]
    now_ms: int = 0
    published: list[tuple[int, tuple[EngineCounts, ...]]] = field(default_factory=list)
    sockets: list[Any] = field(default_factory=list)

    def time(self) -> float:
        return (self.now_ms + 0.25) / 1000

    def socket(self, **_: Any) -> Any:
        """Make the front end's, then the engines' output, then the engines' broadcast."""
        socket = _Socket(self)
        self.sockets.append(socket)
        return socket

    def poll(self, timeout: int) -> list[tuple[Any, int]]:
        due = self.now_ms + timeout
        if self.messages and self.messages[0][0] <= due:
            self.now_ms = max(self.now_ms, self.messages[0][0])
            return [(self.sockets[1], 1)]
        if not self.messages:
            raise _OverError
        self.now_ms = due
        return []


@dataclass(eq=False)
class _Socket:
    wire: _Wire

    def __enter__(self) -> _Socket:
        return self

    def __exit__(self, *_: object) -> None: ...

    def recv(self) -> Any:
        return self.wire.messages.popleft() if self is self.wire.sockets[1] else b"\x01"

    def send(self, message: Any) -> None:
        if self is self.wire.sockets[0] and message[0] is not None:
            self.wire.published.append((self.wire.now_ms, tuple(EngineCounts(*counts) for counts in message[0])))

    def send_multipart(self, message: Any) -> None: ...


def _outputs(message: Message) -> Any:
    _, engine, counts, (wave, step) = message
    stats = None
    if counts is not None:
        stats = SimpleNamespace(
            num_waiting_reqs=counts.waiting,
            num_running_reqs=counts.running,
            kv_cache_usage=counts.kv_cache_usage,
            step_counter=step,
            current_wave=wave,
        )
    return SimpleNamespace(
        outputs=[], utility_output=None, engine_index=engine, scheduler_stats=stats, wave_complete=None, start_wave=None
    )


def _vllm_publishes(
    monkeypatch: pytest.MonkeyPatch, messages: list[Message], engines: int, lockstep: bool
) -> list[tuple[int, tuple[EngineCounts, ...]]]:
    coordinator = pytest.importorskip("vllm.v1.engine.coordinator", reason="vLLM is not installed")
    wire = _Wire(deque(messages))
    process = object.__new__(coordinator.DPCoordinatorProc)
    process.ctx, process.stats_update_interval_ms, process.enable_wave_coordination = None, 100, lockstep
    process.engines = [coordinator.EngineState() for _ in range(engines)]
    monkeypatch.setattr(coordinator, "make_zmq_socket", lambda **how: wire.socket(**how))
    monkeypatch.setattr(
        coordinator.zmq, "Poller", lambda: SimpleNamespace(register=lambda *_: None, poll=wire.poll), raising=True
    )
    monkeypatch.setattr(coordinator, "time", SimpleNamespace(time=wire.time))
    monkeypatch.setattr(coordinator, "MsgpackDecoder", lambda _: SimpleNamespace(decode=_outputs))
    monkeypatch.setattr(coordinator.msgspec.msgpack, "encode", _copied)
    with pytest.raises(_OverError):
        process.process_input_socket("", "", "")
    return wire.published


def _copied(message: Any) -> Any:
    counts, *rest = message
    return (None if counts is None else [list(entry) for entry in counts], *rest)


@pytest.mark.parametrize("lockstep", [False, True])
@pytest.mark.parametrize("pace_ms", [3, 30, 70, 400, 9000])
def test_the_coordinator_publishes_as_vllms_does(monkeypatch: pytest.MonkeyPatch, pace_ms: int, lockstep: bool) -> None:
    engines = 3
    rng = np.random.default_rng([pace_ms, lockstep])
    messages = list(_messages(rng, engines, pace_ms))
    expected = _vllm_publishes(monkeypatch, messages, engines, lockstep)
    ours = Coordinator(engines, lockstep=lockstep)
    for ms, engine, counts, stamp in messages:
        if counts is None:
            ours.tell_nothing(ms * MS)
        else:
            ours.tell(engine, ms * MS, counts, stamp)
    assert len(expected) > min(100, MESSAGES * pace_ms // 200)
    for at, (ms, counts_then) in enumerate(expected):
        following = expected[at + 1][0] if at + 1 < len(expected) else ms + 1
        if following > ms:  # else another is published at the same instant
            assert ours.published(ms * MS + 1) == counts_then, f"publication {at} at {ms} ms"
        assert ours.published(following * MS) is None, f"none between {ms} and {following} ms"


def _messages(rng: np.random.Generator, engines: int, pace_ms: int) -> Iterator[Message]:
    ms, wave, step = 1, 0, 0
    for _ in range(MESSAGES):
        if rng.random() < 0.6:
            ms += 1 + int(rng.exponential(pace_ms))
            step += int(rng.integers(1, 4))
            if rng.random() < 0.02:
                wave, step = wave + 1, 0
        counts = EngineCounts(int(rng.integers(9)), int(rng.integers(40)), float(rng.random()))
        yield ms, int(rng.integers(engines)), None if rng.random() < 0.05 else counts, (wave, step)
