"""The simulator behind the validator's engine interface, driven by asyncio's clock."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.rebuild import RebuildTime, fit_rebuild_time
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.engine.speculation.accepted import AcceptedDrafts
from continuum_sim.engine.speculation.turn import DraftedTurn
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.results.decisions import DecisionRecord, decision_line, keep_decisions
from continuum_sim.setup.notation import parse_policy
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.model import StepTime
from continuum_sim.validate.engines.in_process import COUNTS, DECISIONS, STEPS
from continuum_sim.validate.engines.interface import EngineError, EngineFacts, TurnAnswer, TurnRequest
from continuum_sim.validate.steplog import LoggedStep, step_line


def facts(**changes: Any) -> EngineFacts:
    """Return the settings of a small engine."""
    small = EngineFacts(
        engine="simulator",
        version="0",
        model="none",
        device="none",
        num_gpu_blocks=201,
        block_size=16,
        max_num_batched_tokens=256,
        max_num_seqs=16,
        max_model_len=2048,
        vocab_size=50_000,
    )
    return replace(small, **changes)


@dataclass
class FakeEngines:
    """Starts fake engines and keeps track of them."""

    facts: EngineFacts
    step_time: StepTime
    pace: Callable[[int], float] = lambda number: 1.0
    """Factor on all step times of the n-th engine started (from 0)."""
    dies_after: Callable[[int], int | None] = lambda number: None
    """Number of turns after which the n-th engine dies."""
    refuses: Callable[[int], str | None] = lambda number: None
    """Why the n-th engine does not start."""
    jitter: float = 0.0
    """Standard deviation of the logarithm of each step's time."""
    planning_s: float = 0.0
    """Time between the first two plannings of an idle engine, if it schedules asynchronously."""
    acceptance_rates: tuple[float, ...] = ()
    """How drafts are accepted, if there are any."""
    started: list[str | None] = field(default_factory=list)
    """Policies of the engines, in the order of their start."""
    open: int = 0
    """Engines not closed yet."""

    async def __call__(
        self, policy: str | None, settings: Mapping[str, Any], folder: Path, like: EngineFacts | None
    ) -> FakeEngine:
        number = len(self.started)
        self.started.append(policy)
        if (why := self.refuses(number)) is not None:
            raise EngineError(why)
        folder.mkdir(parents=True, exist_ok=True)
        self.open += 1
        rebuild = settings.get("rebuild")
        return FakeEngine(
            self,
            policy or "lru",
            None if rebuild is None else RebuildTime(**rebuild),
            folder,
            self.pace(number),
            self.dies_after(number),
        )


class _Kept(AcceptedDrafts):
    """Keeps what was drawn until the step is over."""

    def __init__(self, rng: np.random.Generator, rates: Sequence[float]) -> None:
        super().__init__(rng, rates)
        self.kept: deque[int] = deque()

    def next(self) -> int:
        self.kept.append(super().next())
        return self.kept[-1]


class FakeEngine:
    """The simulator's scheduler, stepped in (virtual) time, which sees only token ids."""

    def __init__(
        self,
        owner: FakeEngines,
        policy: str,
        rebuild: RebuildTime | None,
        folder: Path,
        pace: float,
        dies_after: int | None,
    ) -> None:
        self.facts = owner.facts
        self.step_log = folder / STEPS
        self._owner, self._policy, self._pace, self._turns_left = owner, policy, pace, dies_after
        self._folder = folder
        self._rebuild = rebuild or fit_rebuild_time(
            owner.step_time, self.facts.max_num_batched_tokens, self.facts.max_model_len
        )
        self._loop = asyncio.get_running_loop()
        self._rng = np.random.default_rng(len(owner.started))
        self._log = self.step_log.open("wb")
        self._contexts: dict[str, tuple[Any, list[int]]] = {}
        self._ends: dict[Request, asyncio.Future[float]] = {}
        self._generated = 0
        self._number = len(owner.started)
        self._names: dict[Request, str] = {}
        self._waiting: list[asyncio.Future[float]] = []
        self._closed = False
        self._renew()
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def turn(self, request: TurnRequest) -> TurnAnswer:
        name = request.program_id or request.request_id
        if self._turns_left is not None:
            self._turns_left -= 1
            if self._turns_left < 0:
                self._die()
                raise EngineError(f"the engine died during {request.request_id}")
        context, before = self._contexts.get(name) or (self.scheduler.contexts.open(name, None, 0), [])
        kept = next(
            (i for i, (a, b) in enumerate(zip(before, request.prompt_token_ids, strict=False)) if a != b),
            min(len(before), len(request.prompt_token_ids)),
        )
        future: asyncio.Future[float] = self._loop.create_future()
        self._waiting.append(future)
        made = Request(
            context,
            prompt_tokens=len(request.prompt_token_ids),
            kept_tokens=kept,
            max_tokens=request.output_tokens,
            known_tokens=0,
            arrival_s=self._loop.time(),
            tool=request.tool,
            last=request.last_turn or request.program_id is None,
            stops=False,  # the client asks for its length
            drafted=self._drafts(request.request_id),
        )
        self._names[made] = f"{request.request_id}-{0:08x}"  # as vLLM names it
        self._ends[made] = future
        queued_s = self._loop.time()
        self.scheduler.add(name, made, queued_s)
        self._wake.set()
        finish_s = await future
        self._waiting.remove(future)
        tokens = list(range(self._generated, self._generated + request.output_tokens))
        self._generated += request.output_tokens
        self._contexts[name] = (context, request.prompt_token_ids + tokens)
        if made.last:
            del self._contexts[name]
        return TurnAnswer(
            tokens,
            made.first_token_s,
            finish_s,
            made.cached_tokens,
            made.num_preemptions,
            queued_s,
            made.scheduled_s,
            finish_s,
        )

    def _drafts(self, request_id: str) -> DraftedTurn | None:
        speculation = self.scheduler.config.speculation
        if speculation is None:
            return None
        rates = self._owner.acceptance_rates
        return DraftedTurn(_Kept(np.random.default_rng((self._number, crc32(request_id.encode()))), rates))

    async def forget(self) -> None:
        self._renew()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._task.cancel()
        self._log.close()
        self._owner.open -= 1
        counts = {"counts": asdict(self.scheduler.governor.counts)}
        (self._folder / COUNTS).write_text(json.dumps(counts))
        (self._folder / DECISIONS).write_bytes(b"".join(map(decision_line, self._decisions)))

    def _renew(self) -> None:
        self._decisions: list[DecisionRecord] = []
        log = keep_decisions(self._decisions)
        self.scheduler = Scheduler(self.facts.config(), parse_policy(self._policy), self._rebuild, log)

    def _die(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(EngineError("the engine died"))

    async def _run(self) -> None:
        """Plan and run steps as vLLM's loop does: an empty plan takes a place in the queue too."""
        under_way: deque[tuple[Scheduler, Plan, float]] = deque()  # one planned in vain may outlive its scheduler
        most = self.facts.config().max_concurrent_batches
        ended_s = 0.0
        while True:
            scheduler = self.scheduler
            if not under_way and not scheduler.has_work:
                self._wake.clear()
                await self._wake.wait()
                continue
            if scheduler.has_work:
                now_s = self._loop.time()
                plan = scheduler.schedule(now_s)
                if plan.empty:
                    scheduler.step += plan.changed
                    if not under_way:
                        if not plan.changed:
                            await self._idle(scheduler.governor.next_event_s() + SAME_INSTANT_S - now_s)
                        continue
                else:
                    scheduler.update_after_schedule(plan)
                under_way.append((scheduler, plan, now_s))
                if len(under_way) < most:
                    await asyncio.sleep(self._owner.planning_s)
                    continue
            scheduler, plan, start_s = under_way.popleft()
            if not plan.empty:
                noise = float(np.exp(self._rng.normal(0.0, self._owner.jitter))) if self._owner.jitter else 1.0
                seconds = self._owner.step_time.step_s(plan.batch) * self._pace * noise
                left_s = max(start_s, ended_s) + seconds - self._loop.time()
                await asyncio.sleep(max(left_s, SAME_INSTANT_S))  # it ends after the next one was planned
                ended_s = self._loop.time()
            self._finish(scheduler, plan, start_s)
            await asyncio.sleep(SAME_INSTANT_S)  # the next step sees turns that follow immediately

    def _finish(self, scheduler: Scheduler, plan: Plan, start_s: float) -> None:
        now_s = self._loop.time()
        batch: StepBatch = plan.batch
        verified = {
            self._names[request]: (tokens - 1, min(tokens - 1, request.drafted.accepted.kept.popleft()))
            for request, tokens in plan.verified.items()
            if plan.given.get(request)
        }
        if not plan.empty:
            for request in scheduler.update_from_output(now_s):
                self._ends.pop(request).set_result(now_s)
        unfinished = scheduler.num_running + scheduler.num_waiting
        self._log.write(step_line(LoggedStep(start_s, start_s, now_s, now_s, batch, unfinished, verified)))
        if not unfinished:
            self._log.flush()

    async def _idle(self, seconds: float) -> None:
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), None if seconds == float("inf") else max(0.0, seconds))
        except TimeoutError:
            return
