"""Replicas behind one router: which replica a turn goes to, and what happens to the context it leaves behind.

The data-parallel ranks of a deployment are replicas too: engines of their own, behind vLLM's balancer by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from continuum_sim.engine.clock import Clock, instant_number
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.counts import QueueCounts
from continuum_sim.engine.joint import JointSteps
from continuum_sim.engine.lockstep import Lockstep
from continuum_sim.engine.rank import LockstepRank
from continuum_sim.engine.rebuild import fit_rebuild_time
from continuum_sim.engine.replica import Replica
from continuum_sim.engine.request import Context, Request
from continuum_sim.engine.scheduler import LogStep, Scheduler
from continuum_sim.policies import Policy, PolicyError, Router, Routing
from continuum_sim.policies.views import EngineCounts, RoutedTurn, TierView
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.ranked import ranked
from continuum_sim.traces.schema import Program, Turn
from continuum_sim.world.coordinator import Coordinator
from continuum_sim.world.deployments import default_routing
from continuum_sim.world.fits import fitting

LogLine = Callable[..., None]
"""Takes the arguments of a `LogStep` and, with several replicas, the number of the replica after them."""


@dataclass(frozen=True)
class ReplicaSetup:
    """The engine and step times of one replica, or of each rank of a deployment."""

    config: EngineConfig
    step_time: StepTime


class Cluster:
    """Engines on one clock, each with its own memory, queue, pins and gate, and the router in front of them.

    They share what a policy learns about tools and program lengths, and one numbering of programs.
    """

    def __init__(
        self,
        env: Clock,
        policy: Policy,
        setups: Sequence[ReplicaSetup],
        *,
        ranks: int = 1,
        lockstep: bool = False,
        routing: Routing | None = None,
        stepwise: bool = False,
        log: LogLine | None = None,
    ) -> None:
        """Set up idle engines.

        Parameters
        ----------
        setups
            Deployments, each of `ranks` engines; those of the first have the first numbers.
        lockstep
            Whether the ranks of a deployment step together, as those of a mixture of experts do.
        routing
            Replaces the policy's own routing, or the default (`default_routing`) if it has none.
        """
        self.ranks = ranks
        """Data-parallel ranks of each deployment."""
        lockstep = lockstep and ranks > 1
        engines = len(setups) * ranks
        self.replicas: list[Replica] = []
        groups: list[Lockstep] = []
        for setup in setups:
            config, step_time = setup.config, setup.step_time
            rebuild_time = fit_rebuild_time(step_time, config.max_num_batched_tokens, config.max_model_len)
            joint = JointSteps(ahead=config.max_concurrent_batches > 1) if lockstep else None
            together: list[LockstepRank] = []
            for number in range(len(self.replicas), len(self.replicas) + ranks):
                scheduler = Scheduler(
                    config,
                    policy,
                    rebuild_time,
                    log if log is None or engines == 1 else _of_replica(log, number),
                    self.replicas[0].scheduler if self.replicas else None,
                )
                if joint is None:
                    replica = Replica(env, scheduler, step_time, stepwise=stepwise, number=number, replicas=engines)
                    self.replicas.append(replica)
                else:
                    rank = LockstepRank(
                        env, scheduler, step_time, joint, stepwise=stepwise, number=number, replicas=engines
                    )
                    together.append(rank)
                    self.replicas.append(rank)
            if joint is not None:
                groups.append(Lockstep(env, together, joint, ranked(step_time), stepwise=stepwise, replicas=engines))
        setups = [setup for setup in setups for _ in range(ranks)]
        self.configs = tuple(setup.config for setup in setups)
        self.moved_in = [0] * len(setups)
        """Number of turns, per replica, that came from another replica."""
        self._views = [_View(replica) for replica in self.replicas]
        rule = routing or policy.routing or default_routing(engines // ranks, ranks)
        self.router: Router | None = rule.start() if len(setups) > 1 else None
        self._alike = len(set(self.configs)) == 1
        self._coordinators: list[Coordinator] = []
        if self.router is not None and self.router.reads_counts:
            self._coordinators = [Coordinator(ranks, lockstep=lockstep) for _ in range(len(setups) // ranks)]
            for replica in self.replicas:
                tell = partial(self._coordinators[replica.number // ranks].tell, replica.number % ranks)
                replica.counts = QueueCounts(replica.scheduler, tell)
            for group, coordinator in zip(groups, self._coordinators, strict=False):
                group.when_paused = coordinator.tell_nothing

    def open(self, program: Program) -> Stay:
        """Start a program's stay in the cluster."""
        return Stay(self, program)

    def route(self, turn: RoutedTurn, stay: Stay, tokens: int) -> int:
        """Ask the router for a replica, out of those that can hold `tokens` tokens."""
        assert self.router is not None
        if self._coordinators:
            self._publish(turn.arrival_s)
        views = self._views if self._alike else [self._views[at] for at in fitting(tokens, self.configs)]
        for view in views:
            view.stay = stay
        chosen = self.router.route(turn, views, turn.arrival_s)
        if all(view.number != chosen for view in views):
            offered = ", ".join(str(view.number) for view in views)
            raise PolicyError(
                f"router {type(self.router).__name__} sent turn {turn.index} of program {turn.program_id!r} to "
                f"replica {chosen!r}, expected one of those it fits: {offered}"
            )
        return chosen

    def _publish(self, now_s: float) -> None:
        """Tell the router what the coordinators published before now."""
        assert self.router is not None
        until = instant_number(now_s) - 1  # what happens at an instant may be told in any order
        counts: dict[int, EngineCounts] = {}
        for deployment, coordinator in enumerate(self._coordinators):
            published = coordinator.published(until)
            if published is not None:
                counts.update(enumerate(published, deployment * self.ranks))
        if counts:
            self.router.counts_published(counts)


class Stay:
    """The stay of one program in a cluster: which replicas its turns go to, and which hold its context."""

    __slots__ = ("_cluster", "_contexts", "_kept", "_name", "_prefix_id", "_prefix_left", "_prefix_tokens", "home")

    def __init__(self, cluster: Cluster, program: Program) -> None:
        prefix = program.shared_prefix
        self._cluster = cluster
        self._name = program.program_id
        self._prefix_id = prefix.id if prefix else None
        self._prefix_tokens = self._prefix_left = prefix.tokens if prefix else 0
        self._contexts: dict[int, Context] = {}
        self._kept: list[float] = [math.inf] * len(cluster.replicas)
        """Per replica, leading tokens that the next prompt shares with the last one sent there (if none was, with all
        so far); infinite right after a turn there."""
        self.home: int | None = None
        """Replica of the latest turn."""

    def place(self, index: int, turn: Turn, now_s: float) -> Replica:
        """Return the replica for a turn."""
        cluster = self._cluster
        if cluster.router is None:
            return cluster.replicas[0]
        if index:
            self._kept = [min(kept, turn.kept_tokens) for kept in self._kept]
            self._prefix_left = min(self._prefix_left, turn.kept_tokens)
        arrival = RoutedTurn(
            self._name,
            index,
            now_s,
            turn.input_tokens,
            turn.kept_tokens,
            self._prefix_id,
            self._prefix_left,
            self.home,
        )
        return cluster.replicas[cluster.route(arrival, self, turn.input_tokens + turn.output_tokens)]

    def enter(self, replica: Replica, index: int, turn: Turn, now_s: float) -> tuple[Context, int]:
        """Send a turn to a replica; return the program's context there, and the leading prompt tokens it covers."""
        if self._cluster.router is None:
            return self._context_at(0), turn.kept_tokens
        number = replica.number
        if number != self.home:
            self._move(number, now_s)
        kept = self._kept[number]
        self._kept[number] = math.inf
        return self._context_at(number), int(kept) if index else turn.kept_tokens

    def sent(self, request: Request) -> None:
        """Have the router told when a turn that was placed, and accepted, ends."""
        if self._cluster.router is not None and request.ended is not None:
            assert request.ended.callbacks is not None
            request.ended.callbacks.append(self._turn_ended)

    def comes_again(self) -> None:
        """Let the engine of the latest turn know the program's content again if it took the program as ended."""
        number = self.home or 0
        contexts = self._cluster.replicas[number].scheduler.contexts
        if self._name not in contexts:
            contexts.reopen(self._name, self._contexts[number])

    def refused(self) -> None:
        """Tell the router that the turn just placed was not accepted."""
        self._turn_ended(None)

    def _turn_ended(self, event: Any) -> None:
        if self._cluster.router is not None:
            self._cluster.router.turn_ended(self._name)

    def cached_blocks(self, scheduler: Scheduler, number: int, blocks: int) -> int:
        """Return how many leading blocks, of the first `blocks` of the turn being placed, a replica has cached."""
        kept = self._kept[number]
        stop = blocks if kept == math.inf else min(blocks, int(kept) // scheduler.block_size)
        context = scheduler.contexts.find(self._name, self._prefix_id, self._prefix_tokens)
        size = scheduler.block_size
        return scheduler.kv_cache_manager.cached_tokens(context, stop * size) // size

    def close(self, *, silently: bool = False) -> None:
        """End the stay after the program's last turn, or `silently`: its engine waits in vain for another one.

        It does not if it completed the last turn, whose answer came too late for the client.
        """
        cluster = self._cluster
        home = cluster.replicas[self.home or 0]
        if silently and self._contexts and self._name in home.scheduler.contexts:
            home.miss(self._name)
        if cluster.router is None:
            return
        cluster.router.program_left(self._name)
        for number in self._contexts:
            if number == self.home:
                cluster._views[number].open_programs -= 1
            else:
                cluster.replicas[number].scheduler.contexts.close(self._name)

    def _move(self, number: int, now_s: float) -> None:
        cluster = self._cluster
        if self.home is not None:
            home = cluster.replicas[self.home]
            if self._name in home.scheduler.governor.programs:  # not if its first turn was aborted
                program = home.hand_over(self._name, number, now_s)
                cluster.replicas[number].scheduler.governor.take_over(program)
            cluster._views[self.home].open_programs -= 1
            cluster.moved_in[number] += 1
        cluster._views[number].open_programs += 1
        self.home = number

    def _context_at(self, number: int) -> Context:
        context = self._contexts.get(number)
        if context is None:
            scheduler = self._cluster.replicas[number].scheduler
            context = scheduler.contexts.open(self._name, self._prefix_id, self._prefix_tokens)
            self._contexts[number] = context
        return context


class _View:
    """A router's view of a replica (`ReplicaView`) and its engine (`EngineView`), up to date at every read."""

    def __init__(self, replica: Replica) -> None:
        self.number = replica.number
        self.open_programs = 0
        self.stay: Stay
        """The program whose turn is being placed."""
        self._replica = replica
        self._scheduler = replica.scheduler
        self.block_size = replica.scheduler.block_size
        self.total_blocks = replica.scheduler.total_blocks
        self.rebuild_s = replica.scheduler.rebuild_s

    @property
    def engine(self) -> _View:
        return self

    @property
    def free_blocks(self) -> int:
        self._replica.catch_up()
        return self._scheduler.free_blocks

    @property
    def pinned_blocks(self) -> int:
        return self._scheduler.pinned_blocks

    @property
    def num_running(self) -> int:
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        return self._scheduler.num_waiting

    @property
    def shortest_waiting_tokens(self) -> int:
        return self._scheduler.shortest_waiting_tokens

    @property
    def tier(self) -> TierView | None:
        return self._scheduler.tier

    def cached_tokens(self, turn: RoutedTurn) -> int:
        self._replica.catch_up()
        blocks = (turn.prompt_tokens - 1) // self.block_size
        return self.stay.cached_blocks(self._scheduler, self.number, blocks) * self.block_size


def _of_replica(log: LogLine, number: int) -> LogStep:
    def write(*entry: Any) -> None:
        log(*entry, number)

    return write
