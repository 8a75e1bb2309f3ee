"""The numbers of one run: the contents of `summary.json`, in its order."""

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
"""Bounds on numbers in a file, checked when it is read, so that drawing them cannot overflow."""

_PERCENTILES = (50, 90, 95, 99, 100)


class Quantiles(msgspec.Struct, frozen=True):
    """Six statistics of a sample, in its unit; percentiles interpolate linearly (NumPy's default)."""

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
        """Summarise a sample given as distinct values and how often each occurs (`numbers`)."""
        mean = float(np.dot(values, numbers) / numbers.sum())
        order = np.argsort(values)
        values, ends = values[order], numbers[order].cumsum()
        at = np.array(_PERCENTILES) / 100 * (ends[-1] - 1)
        below = np.floor(at)
        low, high = values[np.searchsorted(ends, (below, np.ceil(at)), side="right")]
        return cls(mean, *(low + (high - low) * (at - below)).tolist())


class Prefill(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of prompts, summed over turns: without preemptions, computed + cached + reloaded = prompt."""

    computed_tokens: Count
    """Computed for prompts, repeats included: everything but the token that each decode step computes."""
    cached_tokens: Count
    """Found in the prefix cache when a turn was first scheduled."""
    recomputed_tokens: Count
    """The part of `computed_tokens` whose KV had existed and was lost: evicted between turns, freed by a preemption,
    or in the last, partly filled block of a context, which is never cached."""
    reloaded_tokens: Count = 0
    """Brought back from a lower memory tier; left out if there were none."""

    @property
    def cached_share(self) -> float:
        """Share of the tokens asked for that the prefix cache held, memory tiers excluded."""
        asked_tokens = self.computed_tokens + self.cached_tokens + self.reloaded_tokens
        return self.cached_tokens / asked_tokens if asked_tokens else 0.0


class Pins(msgspec.Struct, frozen=True):
    """Pins by how they ended. Those still held at the end of a run are only in `made`."""

    made: Count
    hit: Count
    """The program's next turn was admitted while it held."""
    expired: Count
    broken: Count
    """Ended because a waiting turn did not fit."""


class Kv(msgspec.Struct, frozen=True):
    """KV cache of the engine; for a cluster, summed over its replicas, each at its own peak."""

    blocks: AtLeastOne
    """As vLLM's `num_gpu_blocks`: one of them is the null block."""
    block_size: Count
    peak_used_share: Number
    """Most blocks referenced at once (by running turns or pins), as a share of the usable blocks."""
    pinned_block_seconds: Number


class Throughput(msgspec.Struct, frozen=True):
    """Over the whole run, from time 0 to the last token."""

    programs_per_s: Number
    output_tokens_per_s: Number
    output_tokens_per_gpu_s: Number | msgspec.UnsetType = msgspec.UNSET
    """Output tokens per second and GPU, over all GPUs of all replicas."""


class Interactivity(msgspec.Struct, frozen=True):
    """Output tokens per second that a user sees: 1 / TPOT of a turn (InferenceX, `utils/process_result.py`)."""

    p50: Number
    p90: Number
    """Rate that nine turns of ten reach or exceed: 1 / the 90th percentile of TPOT."""

    @classmethod
    def of(cls, tpot_s: Quantiles) -> Interactivity:
        """Compute it from the TPOT of turns."""
        return cls(1 / tpot_s.p50, 1 / tpot_s.p90)


class LengthGroup(msgspec.Struct, frozen=True):
    """Programs of similar length."""

    alone_up_to_s: Number
    """Longest JCT alone in the group."""
    programs: AtLeastOne
    jct_s: Number
    """Mean JCT."""
    slowdown: Number
    """Mean slowdown."""


class Fairness(msgspec.Struct, frozen=True):
    """How evenly programs are slowed down."""

    jain: Number
    """(Σx)² / (n·Σx²) of the slowdowns x of n programs: 1 if all are equal, 1/n if only one program is slowed down
    (Jain, Chiu and Hawe 1984, DEC-TR-301)."""
    by_length: list[LengthGroup]
    """Quarters of the programs by their JCT alone, shortest first."""


class KeptObjective(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one objective was kept."""

    objective: str
    """Name as asked for: `p95_jct`; without a statistic, as in `ttft`, it is about every turn."""
    most: Number
    """Its bound: seconds, or a ratio for the slowdown."""
    kept: bool
    share: Number
    """Share of programs or turns within the bound."""
    value: Number | None = None
    """Measured statistic, the largest value for an objective about every one; left out if nothing was measured."""


class KeptSlo(msgspec.Struct, frozen=True, omit_defaults=True):
    """How all objectives were kept."""

    kept: bool
    """Whether all were kept."""
    objectives: list[KeptObjective]
    program_share: Number | msgspec.UnsetType = msgspec.UNSET
    """Share of programs within the bounds of all objectives about programs; left out if there are none of these."""
    good_programs_per_s: Number | msgspec.UnsetType = msgspec.UNSET
    """Goodput: these programs per second."""
    turn_share: Number | msgspec.UnsetType = msgspec.UNSET
    """Share of turns within the bounds of all objectives about turns."""
    good_turns_per_s: Number | msgspec.UnsetType = msgspec.UNSET
    """Goodput as defined by `vllm bench serve --goodput`."""


class Cost(msgspec.Struct, frozen=True, omit_defaults=True):
    """Cost of the engines over the whole run, from time 0 to the last token, whether busy or not."""

    gpus: AtLeastOne
    gpu_hours_per_program: Number
    usd_per_program: Number | None = None
    """None, like `usd_per_gpu_hour`, if a GPU has no price."""
    usd_per_gpu_hour: Number | None = None
    """Mean over the GPUs."""
    prices: str = ""
    """Sellers of the prices, and when they were read."""


class TimeSplit(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a program's time goes. In JSON the last five are left out if they are 0."""

    queue: Number
    """Turns have arrived but are not scheduled yet, without reloads."""
    prefill: Number
    """From first scheduling to first token, without preemptions."""
    decode: Number
    """From first to last token, without preemptions."""
    tool: Number
    """The program's tools run, including tries that fail."""
    tool_wait: Number = 0.0
    """Tool calls wait for a worker."""
    join: Number = 0.0
    """Tools have returned, but sub-agents have not ended."""
    reload: Number = 0.0
    """Turns wait for their blocks to come back from a lower memory tier."""
    preempted: Number = 0.0
    """From each preemption of a turn to its next token: waiting and recomputing."""
    retry: Number = 0.0
    """From a turn's first request to the one that was answered, or to when the program was given up."""


RARE_PARTS: Final = TimeSplit.__struct_fields__[-len(TimeSplit.__struct_defaults__) :]
"""The parts that may be 0 in a whole run."""


class ToolCalls(msgspec.Struct, frozen=True):
    """Outcomes of tool calls, if they can wait, time out or fail."""

    calls: Count
    tries: Count
    """Calls, and retries of those that timed out or failed."""
    timeouts: Count
    """Tries cut short."""
    failures: Count
    """Tries that failed at their end."""
    given_up: Count
    """Calls whose last try timed out or failed: the program continued without a result."""
    waits: Count
    """Tries that found every worker busy."""
    wait_s: Number
    """Seconds that these waited, summed; calls made at once may wait in parallel."""


class Drafts(msgspec.Struct, frozen=True):
    """What speculative decoding proposed, as vLLM's counters of these names count it."""

    verifications: Count
    """Steps of a turn that verified drafts (`spec_decode_num_drafts`)."""
    drafted_tokens: Count
    accepted_tokens: Count
    """Drafts accepted, those behind a turn's last token included."""
    acceptance_length: Number
    """Tokens of a turn from such a step on average: the accepted drafts and one that the model samples."""


class Clients(msgspec.Struct, frozen=True):
    """What clients did, if they can hang up, time out or be refused."""

    aborted: Count
    """Turns whose clients hung up before the last token; their programs went on."""
    timed_out: Count
    """Requests that a client gave up on, after its own time-out or its job's."""
    refused: Count
    """Requests that the server answered with HTTP 503."""
    retries: Count
    """Requests sent again."""
    given_up: Count
    """Programs given up: their JCT is the time until then, and they meet no objective."""
    lost_tokens: Count
    """Tokens computed for requests that timed out."""


class TierUse(msgspec.Struct, frozen=True):
    """One memory tier below the KV cache."""

    name: str
    """`dram` or `ssd`."""
    blocks: Count
    """KV blocks it holds."""
    peak_used_share: Number
    """Most of its blocks in use at once, as a share of all its blocks."""
    written_bytes: Count
    """Copied down into it."""
    read_bytes: Count
    """Brought up from it."""
    link_busy_share: Number
    """Share of the run in which its link was transferring."""


class PolicyActivity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the policy did besides pinning."""

    evictions: Count
    """Contexts evicted at the end of a turn."""
    reorders: Count
    """Turns admitted before one that was queued earlier."""
    holds: Count
    """Turns that an admission gate held back at least once."""
    offloads: Count = 0
    """Contexts sent to host memory; like `recalls`, left out if there were none."""
    recalls: Count = 0
    """Contexts brought back from host memory ahead of their programs' next turns."""


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of a run that its time statistics cover, if not the whole run."""

    programs: AtLeastOne
    turns: AtLeastOne
    from_s: Number
    """Arrival of the first program that counts."""
    to_s: Number
    """Arrival of the last program that counts."""
    left_out: str = ""
    """Mark in the names of programs that arrived in between but do not count; left out if all count."""


class UnfitPrograms(msgspec.Struct, frozen=True):
    """Programs with a context too long for the engine, if these are left out or cut."""

    dropped: Count
    """Programs left out."""
    truncated: Count
    """Programs that were cut, or of which a sub-agent was left out or cut."""
    children: Count
    """Sub-agents left out or cut while their programs stay."""
    named: list[str]
    """Names of the first of these programs."""


class RunVerdict(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Whether the load can be sustained, as far as this run can tell; see `continuum_sim.steady.verdict`."""

    kind: Kind
    """`steady`, `grows`, `too_short`, or `none` if the question makes no sense."""
    reason: str | None = None
    """Reason of `too_short` or `none`."""
    needed_programs: Count | None = None
    """Programs that would be enough to tell, roughly; only for `too_short`."""
    hazard: Number | None = None
    """Only for `steady`: upper bound, at 95 % confidence, on the chance of collapse per program."""
    growth_per_s: Slope | None = None
    """Growth of the backlog, in programs' worth of work. This and the fields below are absent for `none`; the verdicts
    on this run and on several runs are computed from them."""
    window_s: Positive | None = None
    """Last arrival; after a burst, the time from `from_s` to it."""
    from_s: Number | None = None
    """When the backlog was lowest in the first half after a burst. Like `programs` and `jct_s`, only with a burst."""
    programs: AtLeastOne | None = None
    """Arrivals from `from_s` on."""
    jct_s: Number | None = None
    """Mean JCT of these."""
    z: Finite | None = None
    v: Positive | None = None


class RunRecovery(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Recovery from a burst: the other programs compared with the same programs in a run without the burst."""

    burst_programs: Count
    burst_at_s: Number
    recovered: bool
    """Whether JCT returned to within 10 % of that without the burst and stayed there, in windows of 50 arrivals."""
    after_s: Number | None = None
    """Time from the burst to the first arrival from which this holds."""
    after_programs: Count | None = None
    """Arrivals until then."""
    looked_at_programs: Count
    """Arrivals after the burst."""
    last_ratio: Number | None = None
    """Mean JCT of the last window, divided by that without the burst."""
    without: Kind
    """The verdict on the load without the burst."""


class ReplicaSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica of a cluster."""

    replica: Count
    rank: Count | msgspec.UnsetType = msgspec.UNSET
    """Its data-parallel rank among those of its deployment; left out if it has none."""
    gpu: str
    turns: Count
    moved_in: Count
    """The part of `turns` whose program's previous turn ran on another replica, so that the context was not here."""
    busy_s: Number
    """Seconds the engine was computing."""
    prompt_tokens: Count
    cached_tokens: Count
    """The part of `prompt_tokens` found in this replica's prefix cache when a turn was first scheduled."""
    recomputed_tokens: Count
    """Prefill tokens whose KV had been computed before, on any replica, and was not, or no longer, here."""
    preemptions: Count
    blocks: Count
    peak_used_share: Number
    pins: Pins
    pins_moved: Count
    """Pins that ended because the program's next turn was sent to another replica."""
    reloaded_tokens: Count = 0
    """Brought back from a lower memory tier; left out if there were none."""
    tiers: list[TierUse] = []
    """Memory tiers of this replica; left out if it has none."""


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The numbers of one run. Times are in seconds of simulated time, except `wall_s`."""

    policy: str
    trace: str
    arrivals: str
    seed: Count
    population: Literal["drawn"] | msgspec.UnsetType = msgspec.UNSET
    """Set if the run drew its own programs from the trace; all other runs take the trace's programs."""
    verdict: RunVerdict | msgspec.UnsetType = msgspec.UNSET
    """Left out only by earlier versions, which had no verdicts."""
    recovery: RunRecovery | msgspec.UnsetType = msgspec.UNSET
    """Only for a run with a burst."""
    served_per_s: Served | msgspec.UnsetType = msgspec.UNSET
    """Only for a closed load: programs' worth of work per second while all its workers were busy, a point of the
    service curve; left out if too few programs end in that time."""
    programs: AtLeastOne
    """Number of programs; as everywhere, sub-agents do not count as programs."""
    unfit: UnfitPrograms | msgspec.UnsetType = msgspec.UNSET
    """Only if programs that are too long are left out or cut; `programs` and all else are about the rest."""
    measured: Measured | msgspec.UnsetType = msgspec.UNSET
    """Set if a warm-up or a cool-down is left out of the statistics from `jct_s` to `time_share`; everything else is
    about the whole run."""
    children: Count | msgspec.UnsetType = msgspec.UNSET
    """Number of sub-agents, if there are any."""
    turns: AtLeastOne
    """Number of turns, including those of sub-agents."""
    steps: Count
    """Scheduler steps: forward passes, and a few steps that only end a pin or preempt."""
    sim_s: Number
    """End of the last step."""
    busy_s: Number
    """Seconds the engine was computing."""
    wall_s: Number
    """Wall-clock seconds that the simulation took; the only number that differs between two equal runs."""
    jct_s: Quantiles
    """Job completion time, over programs; includes the wait for sub-agents."""
    queue_wait_s: Quantiles
    """Arrival to first scheduling, over turns."""
    ttft_s: Quantiles
    """Arrival to first token, over turns."""
    tpot_s: Quantiles | msgspec.UnsetType = msgspec.UNSET
    """Time per output token after the first, over turns of more than one token. Like the fields below up to `slo`, left
    out if there is nothing to measure, and by versions that did not measure it."""
    itl_s: Quantiles | msgspec.UnsetType = msgspec.UNSET
    """Gaps between consecutive output tokens, over all gaps of all turns."""
    e2el_s: Quantiles | msgspec.UnsetType = msgspec.UNSET
    """Arrival to last token, over turns."""
    interactivity_tokens_per_s: Interactivity | msgspec.UnsetType = msgspec.UNSET
    slowdown: Quantiles | msgspec.UnsetType = msgspec.UNSET
    """JCT divided by the JCT of the same program alone, over programs."""
    fairness: Fairness | msgspec.UnsetType = msgspec.UNSET
    slo: KeptSlo | msgspec.UnsetType = msgspec.UNSET
    """Only if there are objectives."""
    time_s: TimeSplit
    """Mean seconds per program; the parts add up to the mean JCT."""
    time_share: TimeSplit
    """The same as shares of the mean JCT."""
    tools: ToolCalls | msgspec.UnsetType = msgspec.UNSET
    """Only if tools have bounds, timeouts or failures."""
    clients: Clients | msgspec.UnsetType = msgspec.UNSET
    """Only if clients may leave or be refused."""
    drafts: Drafts | msgspec.UnsetType = msgspec.UNSET
    """Only with speculative decoding."""
    prefill: Prefill
    preemptions: Count
    pins: Pins
    kv: Kv
    throughput: Throughput
    cost: Cost | msgspec.UnsetType = msgspec.UNSET
    policy_activity: PolicyActivity
    router: str | msgspec.UnsetType = msgspec.UNSET
    """Routing rule; like `moved_turns` and `replicas`, only for a cluster."""
    moved_turns: Count | msgspec.UnsetType = msgspec.UNSET
    """Turns that ran on a different replica from their program's previous turn."""
    replicas: list[ReplicaSummary] | msgspec.UnsetType = msgspec.UNSET
    tiers: list[TierUse] = []
    """Memory tiers below the KV cache, nearest first; left out if there are none."""
    notes: list[str]
    """What a reader should know before trusting a comparison."""

    def to_json(self) -> str:
        """Return the summary as indented JSON, keys always in the same order."""
        return to_json(self)

    def __reduce__(self) -> tuple[Callable[[bytes], Summary], tuple[bytes]]:
        # Pickled as JSON, so that fields left out come back as the default objects themselves: msgspec omits only
        # those, and would otherwise write zeros for a summary from another process that one made here does not have.
        return _from_json, (msgspec.json.encode(self),)


def _from_json(text: bytes) -> Summary:
    return msgspec.json.decode(text, type=Summary)
