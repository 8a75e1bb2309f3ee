"""The four measurements: a point of the service curve, a draining crowd, a load from empty, a load after a burst."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np

from continuum_sim.capacities.probe import Watch, observe
from continuum_sim.engine.config import EngineConfig
from continuum_sim.errors import ConfigError
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.setup.slo import Slo
from continuum_sim.steady.backlog import Backlog
from continuum_sim.steady.curve import CONGESTED_FITS, LEFT_FULLS, ServiceCurve
from continuum_sim.steady.served import Served, batch_rate, served
from continuum_sim.steady.verdict import LEAST_PROGRAMS, PARTS, Trend
from continuum_sim.traces.arrivals import Closed

LEAST_OF_A_POINT: Final = 400
"""Least number of programs in a closed loop."""
LEAST_COUNTED: Final = 500
"""Least number of these that end while all workers are busy."""
LEAST_OF_THE_FLOOR: Final = 1_000
"""The same where the curve has reached its floor: the rate that most depends on is measured most precisely."""
UNEVEN: Final = 0.05
"""Largest relative difference between the mean work of programs that end and the trace's. Beyond it a closed loop
reports too high a rate: a rule that serves short programs first leaves the long ones for later and never gets there."""
DRAINED: Final = 0.95
"""Share of a crowd's work after which it counts as drained: the last few programs have the engine to themselves."""
GONE_FULLS: Final = 5
"""Backlog beyond which a run never recovers and can be stopped, as a multiple of the n of the peak."""
AFTER: Final = 200
"""Arrivals after a burst's horizon that objectives cover."""
_WARMUP: Final = 0.1


def fits_of(run: ResolvedRun) -> float:
    """Return how many programs, with their final contexts, fit the KV caches of all replicas together."""
    contexts = [program.turns[-1].context_tokens for program in run.trace]
    return max(1.0, sum([_fitting(replica.engine, contexts) for replica in run.engines]))


def _fitting(engine: EngineConfig, contexts: Sequence[int]) -> float:
    if engine.kv_cache_groups:
        return engine.usable_blocks / float(np.mean([engine.blocks_of(tokens) for tokens in contexts]))
    return engine.usable_blocks * engine.block_size / float(np.mean(contexts))


def counted_of_point(n: int, fits: float) -> int:
    """Return the least number of program ends for measuring a point of the curve."""
    return LEAST_OF_THE_FLOOR if n >= CONGESTED_FITS * fits else LEAST_COUNTED if n >= fits else 0


def programs_of_point(n: int, available: int, counted: int) -> int:
    """Return how many programs a closed loop of n needs, rounded up to whole passes of the trace if it has fewer."""
    wanted = max(LEAST_OF_A_POINT, 2 * n + counted)
    return math.ceil(wanted / available) * available if available < wanted else wanted


def measure_point(run: ResolvedRun) -> tuple[Served, bool]:
    """Serve a closed load and measure μ(n): work per second from the n-th end to the last start.

    Returns
    -------
    Served, bool
        The rate, and whether the mean work of the programs that ended in that time is like the trace's.
    """
    assert isinstance(run.arrivals, Closed)
    workers, watch = run.arrivals.workers, Watch()
    observe(run, watch)
    tokens = watch.program_tokens
    found = served(watch.finish_s, workers, watch.work.done_by, float(tokens.mean()))
    if found is None:
        raise ConfigError(f"{len(tokens):,} programs are too few for {workers:,} at once")
    ended = tokens[workers : len(tokens) - workers]
    return found, abs(float(ended.mean() / tokens.mean()) - 1) <= UNEVEN


def measure_drain(run: ResolvedRun) -> Served:
    """Serve a crowd that arrives at once, and measure work per second until most of it is done."""
    watch = Watch()
    observe(run, watch)
    finish_s, tokens = watch.turns
    done = np.cumsum(tokens)
    drained_s = float(finish_s[np.searchsorted(done, DRAINED * done[-1])])
    return batch_rate(0.0, drained_s, watch.work.done_by, float(watch.program_tokens.mean()))


def holds_from_empty(run: ResolvedRun, *, curve: ServiceCurve, slo: Slo) -> bool:
    """Return True if an engine that starts empty serves an open load to its last arrival and keeps the objectives.

    It fails if the number of programs in the system grows (see `steady.verdict`). At a rate above the congested one it
    also fails if that number exceeds `GONE_FULLS` times the n of the peak at any time, or `LEFT_FULLS` times at the
    last arrival; below that rate, such crowds do not stay.

    Parameters
    ----------
    run
        A run with a given number of programs.
    curve
        Service curve of its policy.
    slo
        Objectives to keep as well, by programs that arrive after the first tenth.
    """
    arrival_s = _arrival_times(run)
    full = curve.full if getattr(run.arrivals, "rate", math.inf) > curve.congested_per_s else math.inf
    last_s = arrival_s[-1]
    collapsed = False

    def enough(now_s: float, ended: int) -> bool:
        nonlocal collapsed
        collapsed = bisect_right(arrival_s, now_s) - ended > GONE_FULLS * full
        return collapsed or (not slo and now_s >= last_s)

    watch = Watch(enough, samples=bool(slo))
    observe(run, watch, alone=slo.asks_for("slowdown"))
    ended_s = watch.finish_s
    left = len(arrival_s) - int(np.searchsorted(ended_s, last_s, side="right"))
    if collapsed or left > LEFT_FULLS * full or _grows(np.array(arrival_s), ended_s[ended_s <= last_s], last_s):
        return False
    return slo.kept(_samples(watch, arrival_s[int(_WARMUP * len(arrival_s))])) if slo else True


def recovers(run: ResolvedRun, *, settled: float, horizon: int, slo: Slo) -> bool:
    """Return True if the burst at the start of an open load is gone within `horizon` arrivals.

    It is gone once the system holds no more programs than it would under the load without a burst: from then on JCTs
    are those from empty. This takes less than one run; `steady.recovery`, which compares JCTs with those of a second
    run, agrees with it.

    Parameters
    ----------
    run
        A run with a burst at 0 s.
    settled
        Number of programs in the system under the load without a burst.
    horizon
        Arrivals within which the burst must be gone.
    slo
        Objectives to keep as well, by programs that arrive from then on.
    """
    assert run.burst is not None
    if math.isinf(settled):
        return False  # more programs arrive than are ever served
    burst, arrival_s = run.burst.spec.programs, _arrival_times(run)
    until_s = arrival_s[min(horizon, len(arrival_s)) - 1]
    gone = False

    def enough(now_s: float, ended: int) -> bool:
        nonlocal gone
        if not gone and now_s > until_s:
            return True
        gone = gone or burst + bisect_right(arrival_s, now_s) - ended <= max(1.0, settled)
        return gone and not slo

    watch = Watch(enough, samples=bool(slo))
    observe(run, watch, alone=slo.asks_for("slowdown"))
    return gone and (not slo or slo.kept(_samples(watch, until_s)))


def _grows(arrival_s: np.ndarray, ended_s: np.ndarray, window_s: float) -> bool:
    if len(arrival_s) < LEAST_PROGRAMS:
        return False
    present = Backlog()
    present.arrived(arrival_s, np.ones(len(arrival_s)))
    present.done(ended_s, np.ones(len(ended_s)))
    return Trend.of(present.means(window_s, PARTS)).kind() == "grows"


def _arrival_times(run: ResolvedRun) -> list[float]:
    """Return when the programs of an open load arrive, without a burst."""
    assert not isinstance(run.arrivals, Closed)
    seed = run.config.seed
    length = run.config.length
    programs = length.stream(length.distinct(run.trace, seed), run.arrivals, seed)
    return [time_s for time_s, _ in run.arrivals.times(programs, np.random.default_rng(seed))]


def _samples(watch: Watch, from_s: float) -> dict[str, np.ndarray]:
    """Return the samples that objectives are about, of programs and turns that arrived at `from_s` or later."""
    programs = [item for item in watch.programs if item.arrival_s >= from_s]
    counted = np.frombuffer(watch.turn_arrival_s) >= from_s
    tpot_s = np.frombuffer(watch.tpot_s)[counted]
    return {
        "jct": np.array([item.jct_s for item in programs]),
        "slowdown": np.array([item.jct_s / item.alone_s for item in programs if item.alone_s is not None]),
        "ttft": np.frombuffer(watch.ttft_s)[counted],
        "tpot": tpot_s[tpot_s > 0],
        "e2el": np.frombuffer(watch.e2el_s)[counted],
        "queue_wait": np.frombuffer(watch.queue_wait_s)[counted],
    }
