"""What a replay needs of an engine, in this process or on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.speculation.config import SpeculationConfig
from continuum_sim.vllm_defaults import nearest_mirrored


@dataclass(frozen=True)
class Drafting:
    """Speculative decoding of an engine; see `SpeculationConfig`."""

    method: str
    num_speculative_tokens: int
    acceptance_rates: tuple[float, ...] | None = None
    """None until they are measured, unless they are given."""
    disable_eagle_block_drop: bool = False
    disable_lookahead_block_hashes: bool = False

    def __post_init__(self) -> None:
        if self.acceptance_rates is not None:  # read from JSON they are a list
            object.__setattr__(self, "acceptance_rates", tuple(self.acceptance_rates))

    def config(self) -> SpeculationConfig:
        """Return it as the simulator's; drafts of which nothing is known yet are all rejected."""
        rates = self.acceptance_rates or (0.0,) * self.num_speculative_tokens
        return SpeculationConfig(**{**asdict(self), "acceptance_rates": rates})


class EngineError(RuntimeError):
    """The engine did not start, died, did not answer or refused; the message is one clear line."""


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """An engine's account of itself: provenance of everything measured on it, and the simulator's settings."""

    engine: str
    """`vLLM in this process` or `vLLM server at URL`."""
    version: str
    model: str
    device: str
    num_gpu_blocks: int
    """KV blocks, including vLLM's null block."""
    block_size: int
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int
    vocab_size: int
    dtype: str | None = None
    tensor_parallel_size: int | None = None
    """GPUs the model is split over; None if the engine does not say."""
    async_scheduling: bool = False
    async_forced: str | None = None
    """How it was made to schedule asynchronously where vLLM does not; None if it was not."""
    watermark: float = 0.0
    scheduler_reserve_full_isl: bool = True
    max_num_active_seqs: int | None = None
    long_prefill_token_threshold: int = 0
    long_prefill_token_threshold_adaptive: bool = False
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = True
    kv_cache_groups: tuple[GroupSpec, ...] = ()
    """KV cache groups; none stands for one whose layers keep all tokens, and is assumed of a server."""
    prefix_cache_retention_interval: int | None = 0
    drafting: Drafting | None = None
    """Speculative decoding; none is assumed of a server."""

    def __post_init__(self) -> None:
        drafting: Any = self.drafting
        if isinstance(drafting, Mapping):
            object.__setattr__(self, "drafting", Drafting(**drafting))
        groups = [GroupSpec(**group) if isinstance(group, Mapping) else group for group in self.kv_cache_groups]
        object.__setattr__(self, "kv_cache_groups", tuple(groups))  # read from JSON they are plain

    @property
    def drafts(self) -> int:
        """Drafts of a turn in each step."""
        return 0 if self.drafting is None else self.drafting.num_speculative_tokens

    def config(self) -> EngineConfig:
        """Return the settings under which the simulator mirrors this engine."""
        return EngineConfig(
            num_gpu_blocks=self.num_gpu_blocks,
            block_size=self.block_size,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
            max_model_len=self.max_model_len,
            watermark=self.watermark,
            scheduler_reserve_full_isl=self.scheduler_reserve_full_isl,
            max_num_active_seqs=self.max_num_active_seqs,
            long_prefill_token_threshold=self.long_prefill_token_threshold,
            long_prefill_token_threshold_adaptive=self.long_prefill_token_threshold_adaptive,
            enable_chunked_prefill=self.enable_chunked_prefill,
            enable_prefix_caching=self.enable_prefix_caching,
            async_scheduling=self.async_scheduling,
            vllm_version=nearest_mirrored(self.version),
            kv_cache_groups=self.kv_cache_groups,
            prefix_cache_retention_interval=self.prefix_cache_retention_interval,
            speculation=None if self.drafting is None else self.drafting.config(),
        )

    def accepting(self, rates: Sequence[float] | None) -> EngineFacts:
        """Return the same engine with drafts that are accepted at these rates."""
        if self.drafting is None:
            return self
        told = None if rates is None else tuple(rates)
        return replace(self, drafting=replace(self.drafting, acceptance_rates=told))


class TurnRequest(NamedTuple):
    """One turn as the client sends it. Without a program, a policy does not know it (warm-up, calibration)."""

    request_id: str
    prompt_token_ids: list[int]
    output_tokens: int
    program_id: str | None = None
    tool: str | None = None
    last_turn: bool = False

    def identity(self) -> dict[str, Any]:
        """Return the fields that the scheduler plug-in reads: vLLM's `extra_args`, over HTTP `vllm_xargs`."""
        if self.program_id is None:
            return {}
        identity: dict[str, Any] = {"program_id": self.program_id, "last_turn": int(self.last_turn)}
        return identity if self.tool is None else {**identity, "tool": self.tool}


class TurnAnswer(NamedTuple):
    """The answer to a turn. Times on the event loop's clock; None if the engine does not report them."""

    token_ids: list[int]
    first_token_s: float
    finish_s: float
    """When the client had received the last token."""
    cached_tokens: int | None = None
    preemptions: int | None = None
    queued_s: float | None = None
    """When the request reached the scheduler."""
    scheduled_s: float | None = None
    last_token_s: float | None = None
    """When the engine had the last token."""
    token_times_s: tuple[float, ...] = ()
    """When the client received each token, if they came one by one."""


class Engine(Protocol):
    """An engine that serves turns until it is closed."""

    @property
    def facts(self) -> EngineFacts:
        """Its settings, read back from it."""

    @property
    def step_log(self) -> Path | None:
        """File to which it writes the time of every step, if it does."""

    async def turn(self, request: TurnRequest) -> TurnAnswer:
        """Serve one turn.

        Raises
        ------
        EngineError
            If the answer is incomplete.
        """

    async def forget(self) -> None:
        """Empty the prefix cache while nothing runs."""

    async def close(self) -> None:
        """End the engine with all its processes; may be called again."""


class EngineStarter(Protocol):
    """Starts an engine under a policy (None for vLLM's own scheduler); the engine writes its files into a folder."""

    async def __call__(
        self, policy: str | None, settings: Mapping[str, Any], folder: Path, like: EngineFacts | None
    ) -> Engine:
        """Start an engine.

        Parameters
        ----------
        settings
            Further keys for the scheduler plug-in.
        folder
            Receives the engine's log, its step log and its decision log.
        like
            An earlier engine whose number of blocks is to be repeated: vLLM computes it anew at every start.

        Raises
        ------
        EngineError
            If it does not start; the message has the engine's own last words.
        """
