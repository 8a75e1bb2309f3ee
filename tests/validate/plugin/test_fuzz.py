"""Clients that overlap, disconnect, shrink their contexts and stay away, under every kind of policy: nothing leaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.vllm_bench import BLOCK, Bench

pytestmark = pytest.mark.engine

POLICIES = [
    "lru",
    "fcfs",
    "program-fifo",
    "ttl:cold_start=2",
    "ttl-static:ttl=6,pressure=head",
    "pin-forever",
    "pin-forever:pressure=younger",
    "soft-ttl",
    "session-gate:limit=2",
    "continuum-code",
    "infercept",
    "concur",
]
PROGRAMS = [f"p{number}" for number in range(7)]


class Clients:
    """Clients that act at random."""

    def __init__(self, bench: Bench, rng: np.random.Generator) -> None:
        self.bench = bench
        self.rng = rng
        self.contexts: dict[str, list[int]] = {}
        self.under_way: dict[str, tuple[str | None, list[int]]] = {}
        """Program and prompt of every unfinished request."""
        self._requests = 0
        self._token = 1

    def act(self) -> None:
        """Do a few things between two steps."""
        rng = self.rng
        while rng.random() < 0.4 and len(self.under_way) < 12:
            self._ask()
        if rng.random() < 0.06 and self.under_way:
            name = str(rng.choice(list(self.under_way)))
            if name in self.bench.vllm.requests:
                self.bench.abort(name)
                self.under_way.pop(name)
        if rng.random() < 0.01:
            self.bench.vllm.reset_prefix_cache(reset_running_requests=bool(rng.random() < 0.5))
        if rng.random() < 0.05:
            self.bench.now_s += float(rng.choice([3, 20, 200]))

    def collect(self) -> None:
        """Remember the contexts of the requests that ended."""
        for name, (program, prompt) in list(self.under_way.items()):
            if name not in self.bench.vllm.requests:
                del self.under_way[name]
                if program is not None:
                    self.contexts[program] = prompt + self.bench.outputs[name]

    def _ask(self) -> None:
        rng = self.rng
        program = str(rng.choice(PROGRAMS)) if rng.random() < 0.8 else None
        busy = {owner for owner, _ in self.under_way.values()}
        if program in busy and rng.random() < 0.8:
            return
        known = self.contexts.get(program, []) if program is not None else []
        kept = len(known) if rng.random() < 0.7 else int(rng.integers(0, len(known) + 1))
        fresh = int(rng.choice([0, 1, BLOCK, int(rng.integers(1, 8 * BLOCK))]))
        prompt = known[:kept] + list(range(self._token, self._token + fresh))
        self._token += fresh
        room = 27 * BLOCK
        prompt = prompt[:room] or [self._token]
        extra = {} if program is None else {"program_id": program, "tool": str(rng.choice(["ls", "cat"]))}
        if program is not None and rng.random() < 0.15:
            extra["last_turn"] = "true"
        name = f"r{self._requests}"
        self._requests += 1
        stop = "word" if rng.random() < 0.2 else None
        self.bench.add(name, prompt, int(rng.integers(1, 3 * BLOCK)), stop, **extra)
        self.under_way[name] = (program, prompt)


def check(bench: Bench) -> None:
    host = bench.host
    pinned = {program.program_id for program in host.governor.programs.values() if program.pin is not None}
    assert set(host.pins._pins) == pinned
    assert host.pins.num_blocks <= bench.vllm.kv_cache_manager.block_pool.num_gpu_blocks - 1 - bench.free_blocks
    assert set(host.turns) == set(bench.vllm.requests)
    counts = host.governor.counts
    live = sum(p.pin is not None and not p.pin.hit for p in host.governor.programs.values())
    assert counts.pins_made == counts.pins_hit + counts.pins_expired + counts.pins_broken + live


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_leaks_whatever_clients_do(policy: str, asynchronous: bool, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    preemptions = aborts = 0
    for seed in range(2):
        bench = Bench(
            policy, tmp_path, num_gpu_blocks=40, max_num_seqs=4, asynchronous=asynchronous, forget_after_s=150
        )
        bench.step_s, bench.idle_s = 0.5, 5.0  # a gate may wait until a client that stays away is forgotten
        clients = Clients(bench, np.random.default_rng([seed, POLICIES.index(policy)]))
        for _ in range(400):
            clients.act()
            bench.step()
            clients.collect()
            check(bench)
        bench.run()
        check(bench)
        preemptions += bench.preemptions
        aborts += bench.events().count("abort")
        total = bench.vllm.kv_cache_manager.block_pool.num_gpu_blocks - 1
        assert bench.free_blocks + bench.host.pins.num_blocks == total
        assert bench.vllm.reset_prefix_cache()
        assert bench.free_blocks == total
        assert len(bench.vllm.waiting) == 0
    assert preemptions > 0
    assert aborts > 0
