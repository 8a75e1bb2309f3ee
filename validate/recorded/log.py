"""Contents of a log: the requests of one run, the origin of each number, and the engine that served them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from continuum_sim.traces.errors import TraceError


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request. Times in seconds since the run's first arrival."""

    request_id: str
    arrival_s: float
    input_tokens: int
    output_tokens: int
    first_token_s: float
    last_token_s: float
    scheduled_s: float | None = None
    """When it first entered the running batch; None if the log does not say."""


@dataclass(frozen=True)
class EngineSetup:
    """The engine of a recorded run, as far as known; None is unknown. Names and meanings are vLLM's."""

    source: Path | None = None
    """File that these settings come from."""
    model: str | None = None
    gpu: str | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    enable_expert_parallel: bool | None = None
    nodes: int | None = None
    """`nnodes`."""
    kv_blocks: int | None = None
    """`num_gpu_blocks`."""
    gpu_memory_utilization: float | None = None
    """Used to estimate `kv_blocks` if that is unknown: vLLM's default differs between versions."""
    block_size: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    async_scheduling: bool | None = None
    enable_prefix_caching: bool | None = None
    long_prefill_token_threshold: int | None = None
    client_delay: float | None = None
    """Seconds that a request is on its way between its client and the engine, both ways together."""


@dataclass(frozen=True)
class Provenance:
    """Which numbers of a log were measured, which were derived, and which were not recorded."""

    measured: tuple[str, ...]
    derived: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordedLog:
    """A log that was read and checked."""

    path: Path
    format: str
    requests: tuple[RecordedRequest, ...]
    """In order of arrival, the first at 0."""
    provenance: Provenance
    setup: EngineSetup = EngineSetup()
    clients_clock: bool = True
    """Whether times are a client's, who is some way off, or the engine's own."""
    max_concurrency: int | None = None
    """Requests under way at once, of a client that sent the next one when another was answered; None: sent by time."""
    notes: tuple[str, ...] = field(default=())
    """What is known of the run that the simulator does not model, or that went wrong in it."""

    @property
    def end_s(self) -> float:
        """Time of the run's last token."""
        return max(request.last_token_s for request in self.requests)


def in_order(path: Path, requests: Iterable[RecordedRequest]) -> tuple[RecordedRequest, ...]:
    """Sort requests by arrival and count time from the first one.

    Raises
    ------
    TraceError
        If there are no requests.
    """
    ordered = sorted(requests, key=lambda request: request.arrival_s)
    if not ordered:
        raise TraceError("holds no finished request, expected at least one", path=path)
    zero_s = ordered[0].arrival_s
    return tuple(later(one, -zero_s) for one in ordered)


def later(one: RecordedRequest, by_s: float) -> RecordedRequest:
    """Return a request all of whose times are so many seconds later."""
    return replace(
        one,
        arrival_s=one.arrival_s + by_s,
        first_token_s=one.first_token_s + by_s,
        last_token_s=one.last_token_s + by_s,
        scheduled_s=None if one.scheduled_s is None else one.scheduled_s + by_s,
    )
