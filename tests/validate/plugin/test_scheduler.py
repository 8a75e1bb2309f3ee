"""The plug-in's scheduler without an engine: what no trace contains, and what must never leak."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.policies.planes import Admission, Decision, Fate, Order, Retention
from continuum_sim.policies.views import Moment, ProgramView, TurnView
from support.rules import OldestYields, Recorder, registered
from support.vllm_bench import BLOCK, Bench, tokens

pytestmark = pytest.mark.engine

Make = Callable[..., Bench]


@dataclass(frozen=True)
class AllWelcome(Admission):
    """A gate that is always open: the queue is the plug-in's, the order vLLM's."""

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return True


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Make]:
    pytest.importorskip("vllm", reason="vLLM is not installed")

    def make(policy: str, **settings: Any) -> Bench:
        return Bench(policy, tmp_path, **settings)

    with registered(order={"oldest-yields": OldestYields}, admission={"all-welcome": AllWelcome}):
        yield make


def end_turn(bench: Bench, name: str, prompt: list[int], **extra: Any) -> list[int]:
    """Serve one request to its end; return the context it leaves."""
    bench.add(name, prompt, 2, **extra)
    bench.run()
    return prompt + bench.outputs[name]


class TestPins:
    def test_full_blocks_are_pinned_and_the_rest_is_freed(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=50")
        end_turn(b, "a0", tokens(1, 3 * BLOCK + 5), program_id="a")
        assert b.free_blocks == 100 - 3
        assert b.host.engine.pinned_blocks == 3

    def test_the_pin_is_handed_over_and_its_blocks_are_hit(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=50")
        context = end_turn(b, "a0", tokens(1, 4 * BLOCK), program_id="a")
        end_turn(b, "a1", context + tokens(2, 20), program_id="a", last_turn=True)
        assert b.events("a") == ["arrive", "admit", "pin", "arrive", "admit", "release"]
        assert b.log()[4].detail == {"cached_tokens": 4 * BLOCK}
        assert b.free_blocks == 100
        assert not b.host.governor.programs

    def test_expiry_is_lazy_and_waits_for_no_turn_that_is_back(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=5", max_num_seqs=1)
        context = end_turn(b, "a0", tokens(1, 4 * BLOCK), program_id="a")
        b.add("other", tokens(2, 40), 10)
        b.step()
        b.now_s += 4
        b.add("a1", context, 2, program_id="a")  # in time, although it waits for the only seat until long after
        b.run()
        assert "expire" not in b.events("a")
        b.now_s += 100
        assert b.free_blocks == 100 - 4
        b.add("another", tokens(3, 40))
        b.step()
        assert b.events("a")[-1] == "expire"
        assert b.free_blocks == 100

    def test_what_the_next_prompt_cannot_use_is_freed_at_once(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=50", max_num_seqs=1)
        prompt = tokens(1, 6 * BLOCK)
        end_turn(b, "a0", prompt, program_id="a")
        b.add("other", tokens(2, 10), 5)
        b.step()
        before = b.free_blocks
        b.add("a1", prompt[: 2 * BLOCK + 3] + tokens(3, 6 * BLOCK), program_id="a")
        assert b.free_blocks == before + 4
        assert b.host.governor.programs["a"].pin.blocks == 2
        b.run()
        assert b.log()[-2].detail == {"cached_tokens": 2 * BLOCK}

    def test_a_prompt_that_ends_within_the_pin_keeps_what_it_will_hit(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=50")
        prompt = tokens(1, 4 * BLOCK)
        end_turn(b, "a0", prompt, program_id="a")
        b.add("a1", prompt, program_id="a")
        assert b.host.pins.num_blocks == 3  # the prompt's last token is recomputed, and with it its block
        b.run()
        assert b.log()[4].detail == {"cached_tokens": 3 * BLOCK}

    def test_kept_tokens_bound_what_stays_pinned(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=50")
        context = end_turn(b, "a0", tokens(1, 6 * BLOCK), program_id="a")
        b.add("a1", context, program_id="a", kept_tokens=2 * BLOCK + 1)
        assert b.host.pins.num_blocks == 2

    def test_evicted_blocks_are_blank_and_taken_first(self, bench: Make) -> None:
        b = bench("fcfs")
        context = end_turn(b, "a0", tokens(1, 4 * BLOCK), program_id="a")
        pool = b.vllm.kv_cache_manager.block_pool
        assert len(pool.cached_block_hash_to_block) == 0
        end_turn(b, "a1", context, program_id="a")
        assert b.log()[4].detail == {"cached_tokens": 0}

    def test_eviction_leaves_blocks_that_others_use(self, bench: Make) -> None:
        b = bench("fcfs")
        shared = tokens(1, 4 * BLOCK)
        b.add("other", shared + tokens(2, 5), 50)
        b.step()
        end = b.add("a0", shared + tokens(3, 5), 2, program_id="a")
        while end.request_id in b.vllm.requests:
            b.step()
        b.add("b0", shared + tokens(4, 5), 2, program_id="b")
        b.step()
        assert b.log()[-1].detail == {"cached_tokens": 4 * BLOCK}

    def test_pressure_breaks_the_latest_arrival_first_and_never_more_than_needed(self, bench: Make) -> None:
        b = bench("pin-forever:pressure=head", num_gpu_blocks=41)
        for number, name in enumerate("abc"):
            end_turn(b, f"{name}0", tokens(number, 10 * BLOCK), program_id=name)
        b.add("d0", tokens(9, 15 * BLOCK), program_id="d")
        b.step()
        assert [(e.program, e.detail) for e in b.log() if e.event == "break"] == [("c", {"for": "d"})]

    def test_a_stranger_that_does_not_fit_breaks_pins_too(self, bench: Make) -> None:
        b = bench("pin-forever", num_gpu_blocks=41)
        for number, name in enumerate("abc"):
            end_turn(b, f"{name}0", tokens(number, 12 * BLOCK), program_id=name)
        b.add("nobody", tokens(9, 39 * BLOCK))
        b.run()
        assert b.host.governor.counts.pins_broken == 3
        assert b.free_blocks == 40


class TestClients:
    def test_an_aborted_waiting_turn_takes_its_pin_along(self, bench: Make) -> None:
        b = bench("pin-forever", max_num_seqs=1)
        context = end_turn(b, "a0", tokens(1, 4 * BLOCK), program_id="a")
        b.add("other", tokens(2, 10), 5)
        b.step()
        b.add("a1", context, program_id="a")
        b.abort("a1")
        b.run()
        assert b.events("a")[-2:] == ["arrive", "abort"]
        assert b.log()[-1].detail == {"unpinned": True}
        assert b.free_blocks == 100
        assert (b.host.governor.counts.pins_made, b.host.governor.counts.pins_broken) == (1, 1)

    def test_an_aborted_running_turn_leaves_no_pin_and_no_tool_time(self, bench: Make) -> None:
        b = bench("pin-forever")
        context = end_turn(b, "a0", tokens(1, 4 * BLOCK), program_id="a", tool="ls")
        b.add("a1", context, 50, program_id="a")
        b.step()
        b.abort("a1")
        b.run()
        assert b.free_blocks == 100
        b.now_s += 30
        recorded = len(b.host.governor.history.all_tools)
        end_turn(b, "a1-again", context, program_id="a")
        assert len(b.host.governor.history.all_tools) == recorded
        assert b.host.governor.programs["a"].turns_done == 2

    def test_a_program_aborted_in_its_first_turn_is_gone(self, bench: Make) -> None:
        b = bench("pin-forever")
        b.add("a0", tokens(1, 40), 50, program_id="a")
        b.step()
        b.abort("a0")
        assert not b.host.governor.programs
        assert not b.host.turns

    def test_a_stop_string_ends_a_turn_though_vllm_calls_it_an_abort(self, bench: Make) -> None:
        b = bench("pin-forever")
        b.add("a0", tokens(1, 40), 50, stop="Observation:", program_id="a")
        b.step()
        b.step()
        b.abort("a0")
        assert b.events("a")[-1] == "pin"
        assert b.host.pins.num_blocks == 2

    def test_overlapping_turns_of_one_program_do_no_harm(self, bench: Make) -> None:
        b = bench("pin-forever")
        prompt = tokens(1, 4 * BLOCK)
        b.add("a0", prompt, 2, program_id="a")
        b.add("a0-beside", prompt, 6, program_id="a", last_turn=True)
        b.run()
        assert b.events("a") == ["arrive", "admit", "pin"]
        end_turn(b, "a1", prompt, program_id="a", last_turn=True)
        assert b.free_blocks == 100
        assert not b.host.governor.programs

    def test_a_client_that_never_comes_back_is_forgotten_with_its_pin(self, bench: Make) -> None:
        b = bench("pin-forever", forget_after_s=100)
        end_turn(b, "a0", tokens(1, 4 * BLOCK), program_id="a")
        b.now_s += 90
        end_turn(b, "b0", tokens(2, 4 * BLOCK), program_id="b")
        b.now_s += 20
        b.add("nobody", tokens(3, 10))
        b.step()
        assert b.events("a")[-1] == "forget"
        assert list(b.host.governor.programs) == ["b"]
        assert b.free_blocks == 100 - 4

    def test_a_turn_that_waits_long_is_not_forgotten(self, bench: Make) -> None:
        b = bench("pin-forever", forget_after_s=10, max_num_seqs=1)
        b.add("other", tokens(2, 10), 60)
        b.step()
        b.add("a0", tokens(1, 40), 2, program_id="a")
        b.run()
        assert b.events("a") == ["arrive", "admit", "pin"]

    def test_the_tool_may_be_named_with_the_next_turn(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=50")
        context = end_turn(b, "a0", tokens(1, 40), program_id="a")
        b.now_s += 3
        end_turn(b, "a1", context, program_id="a", previous_tool="pytest")
        assert list(b.host.governor.history.by_tool["pytest"].values_s) == pytest.approx([3.0])

    def test_memory_of_many_programs_is_bounded(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=1", forget_after_s=50)
        for number in range(200):
            end_turn(b, f"r{number}", tokens(number, 10), program_id=f"p{number}")
        assert len(b.host.governor.programs) <= 50
        assert len(b.host.clients) == len(b.host.governor.programs)
        assert not b.host.turns


class TestCacheReset:
    def test_pins_do_not_keep_the_cache_from_being_reset(self, bench: Make) -> None:
        b = bench("pin-forever")
        context = end_turn(b, "a0", tokens(1, 4 * BLOCK), program_id="a")
        assert b.vllm.reset_prefix_cache()
        assert b.free_blocks == 100
        assert b.events("a")[-1] == "unpin"
        end_turn(b, "a1", context, program_id="a")
        assert b.log()[5].detail == {"cached_tokens": 0}

    def test_running_turns_are_preempted_and_come_back(self, bench: Make) -> None:
        b = bench("ttl-static:ttl=50")
        b.add("a0", tokens(1, 40), 5, program_id="a")
        b.step()
        assert b.vllm.reset_prefix_cache(reset_running_requests=True)
        b.run()
        assert b.events("a") == ["arrive", "admit", "preempt", "admit", "pin"]


class TestQueue:
    def test_a_request_that_cannot_run_yet_is_passed_over_and_keeps_its_place(self, bench: Make) -> None:
        from vllm.v1.request import RequestStatus

        b = bench("program-fifo", max_num_seqs=1)
        b.add("first", tokens(1, 10), 3)
        b.step()
        blocked = b.add("a0", tokens(2, 10), 2, program_id="a")
        blocked.status = RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        b.add("b0", tokens(3, 10), 2, program_id="b")
        b.add("c0", tokens(4, 10), 2, program_id="c")
        while "b0" not in b.running:
            b.step()
        assert len(b.vllm.waiting) == 2
        blocked.status = RequestStatus.WAITING
        b.run()
        assert [e.program for e in b.log() if e.event == "admit"] == ["b", "a", "c"]

    def test_set_aside_requests_stay_first_come_first_served(self, bench: Make) -> None:
        from vllm.v1.request import RequestStatus

        b = bench("admission=all-welcome", max_num_seqs=1)
        blocked = [b.add(f"{name}0", tokens(ord(name), 10), 2, program_id=name) for name in "ab"]
        for request in blocked:
            request.status = RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        b.add("c0", tokens(3, 10), 2, program_id="c")
        b.add("d0", tokens(4, 10), 2, program_id="d")
        b.step()
        for request in blocked:
            request.status = RequestStatus.WAITING
        b.run()
        assert [e.program for e in b.log() if e.event == "admit"] == ["c", "a", "b", "d"]

    def test_pinned_turns_pass_and_strangers_queue_by_their_own_arrival(self, bench: Make) -> None:
        b = bench("pin-forever", max_num_seqs=1)
        context = end_turn(b, "a0", tokens(1, 40), program_id="a")
        b.add("blocker", tokens(9, 10), 5)
        b.step()
        for name in ("s1", "s2"):
            b.add(name, tokens(ord(name[1]), 10), 2)
        b.add("a1", context, 2, program_id="a")
        order = []
        while b.vllm.requests:
            b.step()
            order += [name for name in b.running if name not in order]
        assert order == ["blocker", "a1", "s1", "s2"]

    def test_the_policys_victim_is_preempted_and_gives_its_tokens_back(self, bench: Make) -> None:
        b = bench("order=oldest-yields", num_gpu_blocks=21, max_num_seqs=3)
        prompts = {f"{name}0": tokens(number, 6 * BLOCK - 4 * number) for number, name in enumerate("abc")}
        requests = [b.add(name, prompt, 100, program_id=name[0]) for name, prompt in prompts.items()]
        b.step()
        while not b.vllm.waiting:
            b.step()
        assert [r.request_id for r in b.vllm.waiting] == ["a0"]
        assert b.running == ["b0", "c0"]
        assert set(b.batches[-1]) == {"b0", "c0"}
        assert {r.priority for r in requests} == {0}
        b.run()
        assert b.free_blocks == 20

    def test_counts_and_log_are_readable_beside_each_other(self, bench: Make, tmp_path: Path) -> None:
        b = bench("ttl-static:ttl=50")
        end_turn(b, "a0", tokens(1, 40), program_id="a")
        found = json.loads((tmp_path / "decisions.counts.json").read_text())
        assert (found["counts"]["pins_made"], found["pinned_programs"], found["final"]) == (1, 1, False)
        assert (found["policy"]["name"], found["scheduler"]) == ("ttl-static:ttl=50.0", "ContinuumScheduler")
        b.vllm.shutdown()
        assert json.loads((tmp_path / "decisions.counts.json").read_text())["final"]


def test_turns_that_end_together_see_each_other_leave(bench: Make) -> None:
    seen = Recorder()

    class Onlooker(Retention):
        """Records the engine's state whenever a turn ends."""

        def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
            seen.look("end", moment)
            return Fate.RELEASE

    with registered(retention={"onlooker": Onlooker}):
        b = bench("retention=onlooker", max_num_seqs=3)
    for number, name in enumerate("abc"):
        b.add(f"{name}0", tokens(number, 2 * BLOCK), 2 + number // 2, program_id=name)
    b.add("d0", tokens(9, 10), 1, program_id="d")
    b.run()
    # Each turn holds 3 blocks until it has ended; a and b end in one step, c and d in the next.
    assert [state for _, _, *state in seen] == [[91, 2, 1], [94, 1, 1], [96, 1, 0], [99, 0, 0]]


def random_requests(rng: np.random.Generator, count: int) -> list[tuple[int, list[int], int]]:
    """Return (step of arrival, prompt, output tokens); a third share a prefix."""
    return [
        (
            int(rng.integers(0, 150)),
            tokens(0 if rng.random() < 0.3 else number + 1, int(rng.integers(1, 20 * BLOCK))),
            int(rng.integers(1, 6 * BLOCK)),
        )
        for number in range(count)
    ]


class TestStock:
    """Without program ids nothing may differ from vLLM's own scheduler."""

    @pytest.mark.parametrize("asynchronous", [False, True])
    @pytest.mark.parametrize("policy", ["lru", "fcfs"])
    def test_every_step_is_vllms_own(self, tmp_path: Path, policy: str, asynchronous: bool) -> None:
        pytest.importorskip("vllm", reason="vLLM is not installed")
        from vllm.v1.core.sched.async_scheduler import AsyncScheduler
        from vllm.v1.core.sched.scheduler import Scheduler

        from continuum_sim.validate.plugin import ContinuumAsyncScheduler, ContinuumScheduler

        classes = (AsyncScheduler, ContinuumAsyncScheduler) if asynchronous else (Scheduler, ContinuumScheduler)
        for seed in range(3):
            requests = random_requests(np.random.default_rng(seed), 30)
            batches = []
            for cls in classes:
                b = Bench(policy, tmp_path, scheduler_cls=cls, num_gpu_blocks=45, asynchronous=asynchronous)
                for at in range(1000):
                    for number, (arrival, prompt, outputs) in enumerate(requests):
                        if arrival == at:
                            b.add(f"r{number}", prompt, outputs)
                    b.step()
                assert not b.vllm.requests
                batches.append((b.batches, b.outputs, b.preemptions, b.free_blocks))
            assert batches[0] == batches[1]
            assert batches[0][2] > 0
        assert (tmp_path / "decisions.jsonl").read_text() == ""

    @pytest.mark.parametrize("policy", ["ttl", "program-fifo", "pin-forever", "session-gate:limit=1"])
    def test_policies_with_an_order_serve_strangers_first_come_first_served(self, tmp_path: Path, policy: str) -> None:
        """With ample memory, the policy determines the place of a preempted stranger among strangers."""
        pytest.importorskip("vllm", reason="vLLM is not installed")
        from vllm.v1.core.sched.scheduler import Scheduler

        requests = random_requests(np.random.default_rng(5), 30)
        batches = []
        for cls in (Scheduler, None):
            b = Bench(policy, tmp_path, scheduler_cls=cls, num_gpu_blocks=2000, max_num_seqs=3)
            for at in range(2500):
                for number, (arrival, prompt, outputs) in enumerate(requests):
                    if arrival == at:
                        b.add(f"r{number}", prompt, outputs)
                b.step()
            assert not b.vllm.requests
            batches.append(b.batches)
        assert batches[0] == batches[1]


class TestRefusals:
    def test_an_engine_without_prefix_caching(self, bench: Make) -> None:
        with pytest.raises(ConfigError, match="--enable-prefix-caching"):
            bench("ttl", prefix_caching=False)

    def test_a_scheduling_policy_beside_an_order(self, bench: Make) -> None:
        with pytest.raises(ConfigError, match="leave out that flag"):
            bench("program-fifo", scheduling_policy="priority")
        bench("lru", scheduling_policy="priority")

    def test_an_oracle(self, bench: Make) -> None:
        with pytest.raises(ConfigError, match="runs in the simulator only"):
            bench("oracle-ttl")

    def test_the_asynchronous_class_without_asynchronous_scheduling(self, bench: Make) -> None:
        from continuum_sim.validate.plugin import ContinuumAsyncScheduler

        with pytest.raises(ConfigError, match="needs asynchronous scheduling"):
            bench("lru", scheduler_cls=ContinuumAsyncScheduler)

    def test_one_class_serves_both_ways_of_scheduling(self, bench: Make) -> None:
        assert type(bench("lru").vllm).__name__ == "ContinuumScheduler"
        assert type(bench("lru", asynchronous=True).vllm).__name__ == "ContinuumAsyncScheduler"

    def test_a_vllm_built_differently(self, bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        from vllm.v1.core.block_pool import BlockPool
        from vllm.v1.core.sched.request_queue import RequestQueue

        from continuum_sim.validate.plugin.internals import check_classes

        check_classes()
        monkeypatch.delattr(BlockPool, "touch")
        monkeypatch.setattr(RequestQueue, "__abstractmethods__", RequestQueue.__abstractmethods__ | {"swap_request"})
        with pytest.raises(ConfigError, match=r"BlockPool\.touch; the queue method swap_request .* not found; install"):
            check_classes()

    def test_bad_fields_of_a_request_are_warned_of_once(self, bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        b = bench("ttl")
        heard: list[str] = []
        handler = logging.Handler()
        monkeypatch.setattr(handler, "emit", lambda record: heard.append(record.getMessage()))
        monkeypatch.setattr(logging.getLogger("vllm.continuum_sim"), "handlers", [handler])
        for number in range(3):
            b.add(f"r{number}", tokens(number, 10), program_id="a", last_turn="perhaps")
            b.run()
        assert [text for text in heard if "last_turn is 'perhaps'" in text] == heard[:1]


def test_views_tell_a_turns_progress_when_a_victim_is_chosen(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def victim(self: Order, running: list[TurnView]) -> int:
        seen.append([turn.computed_tokens for turn in running])
        return len(running) - 1

    monkeypatch.setattr(OldestYields, "victim", victim)
    b = bench("order=oldest-yields", num_gpu_blocks=13, max_num_seqs=2)
    b.add("a0", tokens(1, 5 * BLOCK), 60, program_id="a")
    b.add("b0", tokens(2, 5 * BLOCK), 60, program_id="b")
    while not seen:
        sampled = [len(b.outputs[name]) for name in ("a0", "b0")]
        b.step()
    assert seen[0] == [5 * BLOCK + count - 1 for count in sampled]  # the last token sampled has no KV yet
