"""vLLM's scheduler under the plug-in, driven by hand on a clock that advances only when told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.results.decisions import DecisionRecord, read_decisions
from continuum_sim.validate.parity.vllm_harness import (
    RequestFactory,
    connector_output,
    make_vllm_scheduler,
    model_output,
)

BLOCK = 16


class Bench:
    """One scheduler; `now_s` is its clock, every step takes `step_s`."""

    def __init__(
        self,
        policy: str,
        folder: Path,
        *,
        num_gpu_blocks: int = 101,
        max_num_seqs: int = 8,
        max_num_batched_tokens: int = 512,
        scheduler_cls: type | None = None,
        asynchronous: bool = False,
        prefix_caching: bool = True,
        scheduling_policy: str = "fcfs",
        host_blocks: int = 0,
        **settings: Any,
    ) -> None:
        if scheduler_cls is None:
            from continuum_sim.validate.plugin import ContinuumScheduler

            scheduler_cls = ContinuumScheduler
        self.log_path = folder / "decisions.jsonl"
        tiers = TierConfig(host_blocks, 0.0, reload="always", stores="steps") if host_blocks else None
        config = EngineConfig(num_gpu_blocks, BLOCK, max_num_batched_tokens, max_num_seqs, 4096, tiers=tiers)
        rebuild = {"constant_s": 0.0, "linear_s": 1e-3, "quadratic_s": 0.0}
        section = {"policy": policy, "decisions": str(self.log_path), "rebuild": rebuild, **settings}

        def build(**parts: Any) -> Any:
            parts["vllm_config"].scheduler_config.async_scheduling = asynchronous
            parts["vllm_config"].scheduler_config.policy = scheduling_policy
            parts["vllm_config"].cache_config.enable_prefix_caching = prefix_caching
            if tiers is not None:
                module = "continuum_sim.validate.plugin.host_cache"
                offload = {"eviction_policy": "RetentionCachePolicy", "cache_policy_module_path": module}
                parts["vllm_config"].kv_transfer_config.kv_connector_extra_config.update(offload)
            return scheduler_cls(**parts)

        self.vllm = make_vllm_scheduler(config, cast(type, build), {"continuum": section})
        self._ahead = 1 if asynchronous else 0
        self._under_way: deque[tuple[Any, list[str]]] = deque()
        """Steps scheduled and not yet processed, with the requests that sample in them."""
        self.now_s = 0.0
        self.step_s = 1.0
        self.idle_s = 0.0
        """Length of a step that computes nothing."""
        if hasattr(self.vllm, "continuum_clock"):
            self.vllm.continuum_clock = lambda: self.now_s
        self._factory = RequestFactory(BLOCK)
        self._sampled = 1_000_000
        self.outputs: dict[str, list[int]] = {}
        self.preemptions = 0
        self.batches: list[dict[str, int]] = []
        """Scheduled tokens of every step."""

    @property
    def host(self) -> Any:
        return self.vllm.continuum

    @property
    def free_blocks(self) -> int:
        return int(self.vllm.kv_cache_manager.block_pool.get_num_free_blocks())

    @property
    def running(self) -> list[str]:
        return [request.request_id for request in self.vllm.running]

    def add(self, name: str, prompt: Sequence[int], max_tokens: int = 1, stop: str | None = None, **extra: Any) -> Any:
        """Queue a request; further keywords become its `extra_args`."""
        request = self._factory.make(name, prompt, max_tokens, extra or None)
        if stop is not None:
            request.sampling_params.stop = [stop]
        request.arrival_time = self.now_s
        self.outputs[name] = []
        self.vllm.add_request(request)
        return request

    def step(self) -> dict[str, int]:
        """Schedule one step, let its time pass and return its samples to the scheduler; return what was scheduled.

        Under asynchronous scheduling the samples are those of the step before.
        """
        output = self.vllm.schedule()
        scheduled = dict(output.num_scheduled_tokens)
        self.preemptions += len(output.preempted_req_ids or ())
        self.now_s += self.step_s if scheduled else self.idle_s
        self._under_way.append((output, [r for r in scheduled if not self.vllm.requests[r].is_prefill_chunk]))
        if len(self._under_way) > self._ahead or not scheduled:
            self._process(*self._under_way.popleft())
        self.batches.append(scheduled)
        return scheduled

    def _process(self, output: Any, sampling: list[str]) -> None:
        sampled: dict[str, list[int]] = {name: [] for name in output.num_scheduled_tokens}
        for name in sampling:
            self._sampled += 1
            sampled[name] = [self._sampled]
            if name in self.vllm.requests:
                self.outputs[name].append(self._sampled)
        transferred = None
        if self.vllm.connector is not None:  # all that a step begins to move is there when it is over
            moved = output.kv_connector_metadata
            loaded = [job.req_id for job in moved.load_jobs.values()]
            transferred = connector_output([*moved.load_jobs, *moved.store_jobs], loaded)
        self.vllm.update_from_output(output, model_output(sampled, transferred))

    def run(self, limit: int = 2000) -> None:
        """Step until nothing is left to do."""
        for _ in range(limit):
            if not self.vllm.requests:
                return
            self.step()
        raise AssertionError(f"still {list(self.vllm.requests)} after {limit} steps")

    def abort(self, name: str) -> None:
        """Abort a request, as vLLM does when its client disconnects or a stop string was found."""
        from vllm.v1.request import RequestStatus

        self.vllm.finish_requests(name, RequestStatus.FINISHED_ABORTED)

    def log(self) -> list[DecisionRecord]:
        return read_decisions(self.log_path)

    def events(self, program: str | None = None) -> list[str]:
        """Return the names of one program's events, or of all."""
        return [entry.event for entry in self.log() if program in (None, entry.program)]


def tokens(start: int, count: int) -> list[int]:
    """Return token ids that no other `start` shares."""
    return list(range(start * 10_000, start * 10_000 + count))
