"""The numbers of one run: what `summary.json` holds, in its order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
import numpy as np

from continuum_sim.results.jsonfile import to_json
from continuum_sim.steady.served import Served
from continuum_sim.steady.verdict import Finite, Kind, Slope

_LARGEST = 10**18
Count = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
Number = Annotated[float, msgspec.Meta(ge=0, le=1e30)]
Positive = Annotated[float, msgspec.Meta(ge=1e-9, le=1e30)]
"""What a file may hold, so that no one who draws it leaves the range of numbers; checked when one is read."""

_PERCENTILES = (50, 90, 95, 99, 100)


class Quantiles(msgspec.Struct, frozen=True):
    """A sample in six numbers, in the sample's unit; percentiles interpolate linearly (NumPy's default)."""

    mean: Number
    p50: Number
    p90: Number
    p95: Number
    p99: Number
    max: Number

    @classmethod
    def of(cls, sample: np.ndarray) -> Quantiles:
        """Summarise a sample of at least one value."""
        return cls(float(sample.mean()), *np.percentile(sample, _PERCENTILES).tolist())

    @classmethod
    def of_counted(cls, values: np.ndarray, numbers: np.ndarray) -> Quantiles:
        """Summarise a sample in which each value is there so many times."""
        mean = float(np.dot(values, numbers) / numbers.sum())
        order = np.argsort(values)
        values, ends = values[order], numbers[order].cumsum()
        at = np.array(_PERCENTILES) / 100 * (ends[-1] - 1)
        below = np.floor(at)
        low, high = values[np.searchsorted(ends, (below, np.ceil(at)), side="right")]
        return cls(mean, *(low + (high - low) * (at - below)).tolist())


class Prefill(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of prompts, summed over turns: without a preemption, computed + cached + reloaded = prompt."""

    computed_tokens: Count
    """Computed for prompts, repeats included: everything but the one token a decode step computes."""
    cached_tokens: Count
    """Found in the prefix cache when a turn was first scheduled."""
    recomputed_tokens: Count
    """Of `computed_tokens`, those whose KV had existed and was lost: evicted between turns or by a preemption, or part
    of the last, partly filled block of a context, which is never cached."""
    reloaded_tokens: Count = 0
    """Brought back from a lower memory tier; left out where there were none."""

    @property
    def cached_share(self) -> float:
        """Share of what was asked for that the prefix cache held; what a memory tier held is another."""
        asked_tokens = self.computed_tokens + self.cached_tokens + self.reloaded_tokens
        return self.cached_tokens / asked_tokens if asked_tokens else 0.0


class Pins(msgspec.Struct, frozen=True):
    """Pins by how they ended. Those still held at the end of a run are in `made` alone."""

    made: Count
    hit: Count
    """The program's next turn was admitted while it held."""
    expired: Count
    broken: Count
    """Given up because a waiting turn did not fit."""


class Kv(msgspec.Struct, frozen=True):
    """KV cache of the engine; of a cluster, added up over its replicas, each at its own peak."""

    blocks: AtLeastOne
    """As vLLM's `num_gpu_blocks`: one of them is the null block."""
    block_size: Count
    peak_used_share: Number
    """Most blocks referenced at once (by running turns or pins), as a share of the usable ones."""
    pinned_block_seconds: Number


class Throughput(msgspec.Struct, frozen=True):
    """Over the whole run, from time 0 to the last token."""

    programs_per_s: Number
    output_tokens_per_s: Number
    output_tokens_per_gpu_s: Number | msgspec.UnsetType = msgspec.UNSET
    """Output tokens per second and GPU: all GPUs of all replicas."""


class Interactivity(msgspec.Struct, frozen=True):
    """Output tokens per second that a user sees: 1 / TPOT of a turn (InferenceX, `utils/process_result.py`)."""

    p50: Number
    p90: Number
    """What nine turns of ten reach at least: 1 / the 90th percentile of TPOT."""

    @classmethod
    def of(cls, tpot_s: Quantiles) -> Interactivity:
        """Turn the times per token of turns round."""
        return cls(1 / tpot_s.p50, 1 / tpot_s.p90)


class LengthGroup(msgspec.Struct, frozen=True):
    """Programs of about one length."""

    alone_up_to_s: Number
    """The longest JCT alone among them."""
    programs: AtLeastOne
    jct_s: Number
    """Their mean JCT."""
    slowdown: Number
    """Their mean slowdown."""


class Fairness(msgspec.Struct, frozen=True):
    """How evenly programs are slowed down."""

    jain: Number
    """(Σx)² / (n·Σx²) of the slowdowns x of n programs: 1 if all are slowed down alike, 1/n if one alone is (Jain, Chiu
    and Hawe 1984, DEC-TR-301)."""
    by_length: list[LengthGroup]
    """Quarters of the programs by their JCT alone, the shortest first."""


class KeptObjective(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one objective."""

    objective: str
    """As it was asked for: `p95_jct`; `ttft` is of every turn."""
    most: Number
    """Its bound; seconds, but of a slowdown."""
    kept: bool
    share: Number
    """Of programs or turns, those that are within the bound."""
    value: Number | None = None
    """What its statistic came to, of every one the largest; left out where there is nothing to measure."""


class KeptSlo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of all objectives."""

    kept: bool
    """Whether all are."""
    objectives: list[KeptObjective]
    program_share: Number | msgspec.UnsetType = msgspec.UNSET
    """Programs that are within the bounds of all objectives about programs; left out where there are none of these."""
    good_programs_per_s: Number | msgspec.UnsetType = msgspec.UNSET
    """Goodput: as many of them per second."""
    turn_share: Number | msgspec.UnsetType = msgspec.UNSET
    """Turns, likewise."""
    good_turns_per_s: Number | msgspec.UnsetType = msgspec.UNSET
    """Goodput as `vllm bench serve --goodput` has it."""


class Cost(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the engines took over the whole run, from time 0 to the last token, whether busy or not."""

    gpus: AtLeastOne
    gpu_hours_per_program: Number
    usd_per_program: Number | None = None
    """None, as what follows, where a GPU has no price."""
    usd_per_gpu_hour: Number | None = None
    """Mean over the GPUs."""
    prices: str = ""
    """Whose prices, and when they were read."""


class TimeSplit(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a program's time goes. In JSON the last four are left out where there was none of it."""

    queue: Number
    """Turns that arrived and were not scheduled yet, reloads aside."""
    prefill: Number
    """From first scheduling to first token, preemptions aside."""
    decode: Number
    """From first to last token, likewise."""
    tool: Number
    """The program's tools run, tries that failed included."""
    tool_wait: Number = 0.0
    """They wait for a worker."""
    join: Number = 0.0
    """They have returned, and sub-agents have not ended."""
    reload: Number = 0.0
    """Turns wait for their blocks to come back from a lower memory tier."""
    preempted: Number = 0.0
    """From each preemption of a turn to its next token: waiting and computing again."""


RARE_PARTS: Final = TimeSplit.__struct_fields__[-len(TimeSplit.__struct_defaults__) :]
"""Those of which there may be none."""


class ToolCalls(msgspec.Struct, frozen=True):
    """What became of tool calls, where they can wait, time out or fail."""

    calls: Count
    tries: Count
    """Calls, and retries of those that timed out or failed."""
    timeouts: Count
    """Tries cut short."""
    failures: Count
    """Tries that failed at their end."""
    given_up: Count
    """Calls whose last try timed out or failed: the program went on without."""
    waits: Count
    """Tries that found every worker busy."""
    wait_s: Number
    """Seconds these waited, summed; calls made at once may wait side by side."""


class TierUse(msgspec.Struct, frozen=True):
    """One memory tier below the KV cache."""

    name: str
    """`dram` or `ssd`."""
    blocks: Count
    """KV blocks it holds."""
    peak_used_share: Number
    """Most of its blocks in use at once, as a share of them."""
    written_bytes: Count
    """Copied down into it."""
    read_bytes: Count
    """Brought up from it."""
    link_busy_share: Number
    """Share of the run in which the link to it moved something."""


class PolicyActivity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the policy did besides pinning."""

    evictions: Count
    """Contexts forgotten at the end of a turn."""
    reorders: Count
    """Turns admitted before one that was queued earlier."""
    holds: Count
    """Turns that an admission gate held back at least once."""
    offloads: Count = 0
    """Contexts sent to host memory; left out where there were none, as what follows."""
    recalls: Count = 0
    """Contexts brought back from there ahead of their programs' next turns."""


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of a run that the statistics of times are about, where it is not all of it."""

    programs: AtLeastOne
    turns: AtLeastOne
    from_s: Number
    """Arrival of the first of them ..."""
    to_s: Number
    """... and of the last."""
    left_out: str = ""
    """What the names of programs have in them that do not count though they arrived then; left out where all do."""


class UnfitPrograms(msgspec.Struct, frozen=True):
    """What became of programs with a context too long for the engine, where these are left out or cut."""

    dropped: Count
    """Left out."""
    truncated: Count
    """Cut, or a sub-agent of them was left out or cut."""
    children: Count
    """Sub-agents left out or cut while their programs stay."""
    named: list[str]
    """The first of the programs."""


class RunVerdict(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Whether the load could last, as far as this run can tell; see `continuum_sim.steady.verdict`."""

    kind: Kind
    """`steady`, `grows`, `too_short`, or `none` where the question makes no sense."""
    reason: str | None = None
    """Of `too_short` and `none`."""
    needed_programs: Count | None = None
    """About as many would tell; of `too_short`."""
    hazard: Number | None = None
    """Of `steady`: the chance of collapse that a program brings is below this, with 95 % confidence."""
    growth_per_s: Slope | None = None
    """Of the backlog, in programs' worth of work. As what follows, of all but `none`: what the verdict goes by, and
    that on several runs."""
    window_s: Positive | None = None
    """Last arrival; after a burst the time from `from_s` to it."""
    from_s: Number | None = None
    """Where the backlog was at its lowest in the first half after a burst; as what follows, only where there was one.
    """
    programs: AtLeastOne | None = None
    """Arrivals from then on."""
    jct_s: Number | None = None
    """Their mean JCT."""
    z: Finite | None = None
    v: Positive | None = None


class RunRecovery(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What became of a burst: the other programs beside the same ones of the same load without it."""

    burst_programs: Count
    burst_at_s: Number
    recovered: bool
    """Whether JCT came back to within 10 % of that without the burst and stayed there, in windows of 50 arrivals."""
    after_s: Number | None = None
    """From the burst to the first arrival from which on it was."""
    after_programs: Count | None = None
    """Arrivals until then."""
    looked_at_programs: Count
    """Arrivals after the burst."""
    last_ratio: Number | None = None
    """Mean JCT of the last window, over that without the burst."""
    without: Kind
    """The verdict on the load without the burst."""


class ReplicaSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica of a cluster."""

    replica: Count
    gpu: str
    turns: Count
    moved_in: Count
    """Of them, those whose program's latest turn had run on another replica: their context was not here."""
    busy_s: Number
    """Seconds the engine was computing."""
    prompt_tokens: Count
    cached_tokens: Count
    """Of them, found in this replica's prefix cache when a turn was first scheduled."""
    recomputed_tokens: Count
    """Prefill tokens whose KV had been computed before, on whichever replica, and was not here (any more)."""
    preemptions: Count
    blocks: Count
    peak_used_share: Number
    pins: Pins
    pins_moved: Count
    """Pins that ended because the program's next turn was sent to another replica."""
    reloaded_tokens: Count = 0
    """Brought back from a lower memory tier; left out where there were none."""
    tiers: list[TierUse] = []
    """Memory tiers of this replica; left out where it has none."""


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run in numbers. Times in seconds of simulated time, but for `wall_s`."""

    policy: str
    trace: str
    arrivals: str
    seed: Count
    population: Literal["drawn"] | msgspec.UnsetType = msgspec.UNSET
    """Of a run that drew its own programs from the trace; all others take the trace's."""
    verdict: RunVerdict | msgspec.UnsetType = msgspec.UNSET
    """Of every run that has been asked since there are verdicts."""
    recovery: RunRecovery | msgspec.UnsetType = msgspec.UNSET
    """Of a run with a burst."""
    served_per_s: Served | msgspec.UnsetType = msgspec.UNSET
    """Of a closed load: programs' worth of work per second while all its places were taken, a point of the service
    curve; left out where too few programs end in that time."""
    programs: AtLeastOne
    """Sub-agents are not counted, nor in anything said of programs."""
    unfit: UnfitPrograms | msgspec.UnsetType = msgspec.UNSET
    """Of a run that leaves out or cuts what is too long; `programs` and all else are about what is left."""
    measured: Measured | msgspec.UnsetType = msgspec.UNSET
    """Where a warm-up or a cool-down is left out of the statistics from `jct_s` to `time_share`; all else is about the
    whole run."""
    children: Count | msgspec.UnsetType = msgspec.UNSET
    """Sub-agents, where there are any."""
    turns: AtLeastOne
    """Those of sub-agents included."""
    steps: Count
    """Scheduler steps: forward passes, and a few that only end a pin or preempt."""
    sim_s: Number
    """End of the last step."""
    busy_s: Number
    """Seconds the engine was computing."""
    wall_s: Number
    """Real seconds the simulation took; the one number that differs between two equal runs."""
    jct_s: Quantiles
    """Job completion time, over programs; it includes the wait for their sub-agents."""
    queue_wait_s: Quantiles
    """Arrival to first scheduling, over turns."""
    ttft_s: Quantiles
    """Arrival to first token, over turns."""
    tpot_s: Quantiles | msgspec.UnsetType = msgspec.UNSET
    """Time per output token after the first, over turns of more than one. As what follows up to `slo`, left out where
    there is nothing to measure, and by versions that did not measure it."""
    itl_s: Quantiles | msgspec.UnsetType = msgspec.UNSET
    """Gaps between consecutive output tokens, over all of all turns."""
    e2el_s: Quantiles | msgspec.UnsetType = msgspec.UNSET
    """Arrival to last token, over turns."""
    interactivity_tokens_per_s: Interactivity | msgspec.UnsetType = msgspec.UNSET
    slowdown: Quantiles | msgspec.UnsetType = msgspec.UNSET
    """JCT over the JCT of the same program alone, over programs."""
    fairness: Fairness | msgspec.UnsetType = msgspec.UNSET
    slo: KeptSlo | msgspec.UnsetType = msgspec.UNSET
    """Where there are objectives."""
    time_s: TimeSplit
    """Mean seconds a program; they add up to the mean JCT."""
    time_share: TimeSplit
    """The same as shares of it."""
    tools: ToolCalls | msgspec.UnsetType = msgspec.UNSET
    """Where tools have bounds, timeouts or failures."""
    prefill: Prefill
    preemptions: Count
    pins: Pins
    kv: Kv
    throughput: Throughput
    cost: Cost | msgspec.UnsetType = msgspec.UNSET
    policy_activity: PolicyActivity
    router: str | msgspec.UnsetType = msgspec.UNSET
    """Rule by which turns found their replicas; in a cluster only, as what follows."""
    moved_turns: Count | msgspec.UnsetType = msgspec.UNSET
    """Turns that ran on another replica than their program's turn before."""
    replicas: list[ReplicaSummary] | msgspec.UnsetType = msgspec.UNSET
    tiers: list[TierUse] = []
    """Memory tiers below the KV cache, nearest first; left out where there are none."""
    notes: list[str]
    """What a reader should know before trusting a comparison."""

    def to_json(self) -> str:
        """Return it as indented JSON, keys always in the same order."""
        return to_json(self)

    def __reduce__(self) -> tuple[Callable[[bytes], Summary], tuple[bytes]]:
        # As JSON, so that what is left out comes back as the very default: msgspec leaves out that object alone, and a
        # summary from another process would be written with zeros that one from here does not have.
        return _from_json, (msgspec.json.encode(self),)


def _from_json(text: bytes) -> Summary:
    return msgspec.json.decode(text, type=Summary)
