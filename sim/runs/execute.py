"""Carry out and record one resolved run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from continuum_sim.engine.token_gaps import TokenGaps
from continuum_sim.errors import ConfigError
from continuum_sim.interrupts import stop_if_asked
from continuum_sim.results.cost import cost_of
from continuum_sim.results.decisions import DecisionRecord, decision_file, keep_decisions
from continuum_sim.results.files import DECISIONS, staged_directory, table_files
from continuum_sim.results.manifest import make_manifest
from continuum_sim.results.notes import activity_notes, client_notes, cluster_notes, load_notes, unfit_notes
from continuum_sim.results.recorder import Progress, RunRecorder
from continuum_sim.results.recovered import recovery_of
from continuum_sim.results.result import RunResult, write_texts
from continuum_sim.results.summarise import summarise, summarise_replicas
from continuum_sim.results.summary import RunRecovery, Summary
from continuum_sim.results.tables import Sink
from continuum_sim.results.verdicts import verdict_of
from continuum_sim.runs.alone import alone_on
from continuum_sim.setup.notation import routing_spec
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.steady.burst import WithBurst
from continuum_sim.traces.arrivals import Closed, OpenArrivals
from continuum_sim.traces.schema import Program
from continuum_sim.world.clients import ClientDraws
from continuum_sim.world.cluster import LogLine, ReplicaSetup
from continuum_sim.world.drafts import DraftDraws
from continuum_sim.world.records import Recorder
from continuum_sim.world.simulation import Simulation
from continuum_sim.world.tools import ToolOutcomes
from continuum_sim.world.totals import EngineTotals

if TYPE_CHECKING:
    import pyarrow as pa

OnProgress = Callable[[Progress], None]


def execute(
    run: ResolvedRun,
    *,
    tables: Collection[str] = (),
    out: Path | None = None,
    force: bool = False,
    decisions: bool = False,
    keep: Collection[str] = (),
    progress: OnProgress | None = None,
    command: Sequence[str] | None = None,
) -> RunResult:
    """Simulate a run and record what is asked for; the summary is always made.

    Parameters
    ----------
    tables
        Tables to record: to `out` in bounded memory if it is given, else in memory.
    out
        The run's directory, which appears once the run has succeeded.
    force
        Whether `out` may replace earlier results.
    decisions
        Whether to record the decision log, to `out` or in memory like the tables.
    keep
        Tables to hold in memory even if there is an `out`.
    progress
        Called when a program finishes, and every 1,024 turns.
    command
        The command line, for the manifest.

    Raises
    ------
    ConfigError
        If `out` holds other results.
    SimulationError
        If the policy never admits some program.
    OSError
        If `out` cannot be written.
    """
    stop_if_asked()
    batches: dict[str, list[pa.RecordBatch]] = {table: [] for table in (*keep, *(tables if out is None else ()))}
    logged: list[DecisionRecord] | None = [] if decisions and out is None else None
    with ExitStack() as stack:
        sinks: dict[str, list[Sink]] = {table: [kept.append] for table, kept in batches.items()}
        log = None if logged is None else keep_decisions(logged)
        if out is not None:
            staged = stack.enter_context(staged_directory(out, force=force))
            files = table_files(staged, tables, cluster=len(run.engines) > 1)
            for table, write in stack.enter_context(files).items():
                sinks.setdefault(table, []).append(write)
            if decisions:
                log = stack.enter_context(decision_file(staged / DECISIONS))
        recorder = RunRecorder(sinks, progress, replicas=len(run.engines), length=run.config.length, burst=run.burst)
        summary = simulate(run, recorder, log, progress)
        manifest = make_manifest(run, wall_s=summary.wall_s, command=command)
        if out is not None:
            write_texts(staged, summary, manifest)
    return RunResult(summary, manifest, batches=batches, decisions=logged, directory=out)


def simulate(
    run: ResolvedRun, recorder: RunRecorder, log: LogLine | None = None, progress: OnProgress | None = None
) -> Summary:
    """Simulate into a recorder, close it, and summarise the run.

    A run with a burst is simulated a second time without it, keeping only what the recovery is computed from;
    `progress` continues from where the recorder's own ends.
    """
    started_s = time.perf_counter()
    simulation, totals = serve(
        run, recorder, log, timeline=recorder.wants_timeline, gaps=recorder.tally.gaps, alone_s=alone_on(run)
    )
    recorder.close()
    tally = recorder.tally
    if not tally.programs:
        raise ConfigError(f"no program arrives within the duration of {run.config.length.duration_s:g} s")
    wall_s = time.perf_counter() - started_s
    recovery = _recovery(run, recorder, progress)
    parts = summarise_replicas(simulation.cluster, recorder.replica_tally, [r.gpu.name for r in run.engines])
    tools = None if simulation.tools is None else simulation.tools.totals
    clients = None if simulation.clients is None else simulation.clients.totals
    gaps_grew = tally.children > 0 or (tools is not None and tools.waits > 0)
    return summarise(
        tally,
        totals,
        [replica.engine for replica in run.engines],
        tools,
        clients,
        policy=run.policy.name,
        trace=run.trace.name,
        arrivals=run.arrivals_spec,
        seed=run.config.seed,
        wall_s=wall_s,
        notes=[
            *activity_notes(simulation.policy, totals, gaps_grew=gaps_grew),
            *(cluster_notes(simulation.policy, parts) if parts else ()),
            *load_notes(tally, block_size=run.engine.block_size),
            *client_notes(clients, tally.programs),
            *unfit_notes(run.trace.fitting),
            *run.notes,
        ],
        verdict=verdict_of(tally, run.arrivals),
        recovery=recovery,
        cost=cost_of(run.gpus, run.config.prices, sim_s=totals.end_s, programs=tally.programs),
        slo=run.config.objectives,
        served_per_s=tally.served_per_s(run.arrivals.workers) if isinstance(run.arrivals, Closed) else None,
        drawn=run.config.length.drawn,
        unfit=run.trace.fitting,
        router=None if run.routing is None else routing_spec(run.routing),
        replicas=parts,
    )


def serve(
    run: ResolvedRun,
    recorder: Recorder,
    log: LogLine | None = None,
    *,
    burst: bool = True,
    timeline: bool = False,
    gaps: TokenGaps | None = None,
    alone_s: Callable[[Program], float | None] | None = None,
) -> tuple[Simulation, EngineTotals]:
    """Simulate into any recorder; return the simulation and the engines' totals. A run can be served repeatedly.

    Parameters
    ----------
    log
        Receives every decision of the policy.
    burst
        Whether to include the run's burst, if it has one; everything else stays the same without it.
    timeline
        Whether to report `TimelineRecord`s.
    gaps, alone_s
        See `Simulation`.

    Raises
    ------
    SimulationError
        If the policy never admits some program.
    """
    # Rules may have state, which must not carry over. One deepcopy of both: a routing that is the policy's stays so.
    policy, routing = copy.deepcopy((run.policy, run.routing))
    simulation = Simulation(
        policy=policy,
        config=run.engine,
        step_time=run.step_time,
        recorder=recorder,
        stepwise=run.config.engine == "stepwise",
        timeline=timeline,
        log=log,
        others=[ReplicaSetup(replica.engine, replica.step_time) for replica in run.replicas[1:]],
        ranks=run.ranks,
        lockstep=run.lockstep,
        routing=routing,
        tools=ToolOutcomes(run.tools, run.config.seed),
        clients=ClientDraws(run.config.clients, run.config.seed),
        drafts=DraftDraws(run.config.seed),
        gaps=gaps,
        alone_s=alone_s,
    )
    length, seed = run.config.length, run.config.seed
    distinct = length.distinct(run.trace, seed)
    programs = length.stream(distinct, run.arrivals, seed)
    arrivals: OpenArrivals | Closed = run.arrivals
    if burst and run.burst is not None and not isinstance(arrivals, Closed):
        arrivals = WithBurst(arrivals, run.burst.spec.at_s, run.burst.programs(distinct, seed))
    totals = simulation.run(programs, arrivals, np.random.default_rng(seed), until_s=length.duration_s)
    return simulation, totals


def _recovery(run: ResolvedRun, recorder: RunRecorder, progress: OnProgress | None) -> RunRecovery | None:
    """Serve the load a second time without the burst and compare; None without a burst or for a loaded start."""
    if run.burst is None or not run.burst.spec.counts or recorder.load is None:
        return None
    before = recorder.tally

    def on(now: Progress) -> None:
        if progress is not None:
            progress(Progress(before.programs + now.programs, before.turns + now.turns, now.sim_s))

    alone = RunRecorder(progress=on, burst=run.burst)
    serve(run, alone, burst=False)
    alone.close()
    assert alone.load is not None
    return recovery_of(recorder.load, alone.load, verdict_of(alone.tally, run.arrivals).kind)
