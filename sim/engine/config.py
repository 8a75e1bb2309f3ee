"""Settings of the simulated engine, under vLLM's names."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Final

from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.speculation.config import EAGLE_METHODS, SpeculationConfig
from continuum_sim.errors import ConfigError
from continuum_sim.vllm_defaults import MIRRORED_VERSIONS, MIRRORED_VLLM

SCHEDULING_POLICIES: Final = ("fcfs", "priority")


@dataclass(frozen=True)
class EngineConfig:
    """Scheduler and cache settings of one replica; the defaults are vLLM's on GPUs of 70 GB and more."""

    num_gpu_blocks: int
    """KV blocks, including vLLM's null block, which is never usable."""
    block_size: int = 16
    """Tokens per block."""
    max_num_batched_tokens: int = 8192
    """Token budget of a step (the chunk size of prefill)."""
    max_num_seqs: int = 1024
    """Most turns that may run at once."""
    max_model_len: int = 131072
    """Longest prompt plus output, in tokens."""
    watermark: float = 0.0
    """Share of all blocks that must stay free when a turn is admitted while others run."""
    scheduler_reserve_full_isl: bool = True
    """Admit a turn only when its whole prompt fits now, not just its first chunk."""
    tiers: TierConfig | None = None
    """Memory tiers below the KV cache, if any."""
    max_num_active_seqs: int | None = None
    """Most turns that are admitted to the batch; None for `max_num_seqs`."""
    long_prefill_token_threshold: int = 0
    """Most prompt tokens of one turn in a step while other turns run or wait; 0 for no limit of its own."""
    long_prefill_token_threshold_adaptive: bool = False
    """Raise that limit to the budget's fair share of every turn that runs or waits."""
    enable_chunked_prefill: bool = True
    """Admit a turn although its prompt exceeds the rest of the budget, and cut it."""
    enable_prefix_caching: bool = True
    """Find blocks of earlier turns again."""
    scheduling_policy: str = "fcfs"
    """`fcfs`, or `priority`: by the priority of programs, lowest first, then by arrival."""
    async_scheduling: bool = False
    """Plan each step while the one before it runs. Off unless asked for, as a schedule is then worked out step by step;
    what vLLM does by default is for `RunConfig` to say, or for the engine that is mirrored."""
    max_num_queued_reqs: int | None = None
    """Most unfinished requests at the API server, which refuses others with HTTP 503; None for no limit."""
    max_num_queued_tokens: int | None = None
    """Prompt tokens, of requests without a token yet, from which on it refuses others; None for no limit."""
    vllm_version: str = MIRRORED_VLLM
    """The vLLM whose scheduler decides, as major.minor: one of `MIRRORED_VERSIONS`."""
    kv_cache_groups: tuple[GroupSpec, ...] = ()
    """KV cache groups in vLLM's order; none stands for one whose layers keep all tokens, in blocks of `block_size`."""
    prefix_cache_retention_interval: int | None = 0
    """Which windows of a prompt can be found again: 0 the last one, and those at which prompts part; None all of them;
    otherwise one in so many tokens as well."""
    speculation: SpeculationConfig | None = None
    """Speculative decoding, if any."""
    drafter_group: int | None = None
    """The KV cache group that vLLM takes for the drafter's (`is_eagle_group`): with MTP that of the last layer. None,
    as with EAGLE, lets every group compute the last block of a hit again, where that is done."""
    pipeline_parallel_size: int = 1
    """Stages that have some of the layers each, and work on a batch of their own at a time."""
    prefill_schedule_interval: int = 1
    """Steps from one that computes a prompt to the next that may, while other turns decode; 1 holds none (0.33)."""

    def __post_init__(self) -> None:
        for name, least in (
            ("num_gpu_blocks", 2),
            ("block_size", 1),
            ("max_num_batched_tokens", 1),
            ("max_num_seqs", 1),
            ("max_model_len", 2),
            ("pipeline_parallel_size", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        self._check_controls()
        if not 0.0 <= self.watermark < 1.0:
            raise ConfigError(f"watermark is {self.watermark}, expected a share from 0 to below 1")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ConfigError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) is below max_num_seqs "
                f"({self.max_num_seqs}), which vLLM refuses; lower --max-num-seqs"
            )

    def _check_controls(self) -> None:
        """Refuse controls that exclude each other, as vLLM's `SchedulerConfig` does, or the tiers."""
        active = self.max_num_active_seqs
        if active is not None and not 1 <= active <= self.max_num_seqs:
            raise ConfigError(f"max_num_active_seqs is {active}, expected 1 to max_num_seqs ({self.max_num_seqs})")
        if not 0 <= self.long_prefill_token_threshold <= self.max_model_len:
            raise ConfigError(
                f"long_prefill_token_threshold is {self.long_prefill_token_threshold}, expected 0 to max_model_len "
                f"({self.max_model_len})"
            )
        if not self.enable_chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise ConfigError(
                f"without chunked prefill a step must hold the longest prompt, but max_num_batched_tokens "
                f"({self.max_num_batched_tokens}) is below max_model_len ({self.max_model_len}): raise the one or "
                "lower the other"
            )
        if self.tiers is not None and not self.enable_prefix_caching:
            raise ConfigError(
                "memory tiers hold what the prefix cache finds again: leave --no-enable-prefix-caching out"
            )
        self._check_version()
        self._check_groups()
        self._check_speculation()
        if self.pipelined:
            self._check_pipeline()
        if self.scheduling_policy not in SCHEDULING_POLICIES:
            raise ConfigError(
                f"scheduling_policy is {self.scheduling_policy!r}, expected {' or '.join(SCHEDULING_POLICIES)}"
            )

    def _check_groups(self) -> None:
        """Refuse groups that vLLM does not serve together, or that this version does not know beside other settings."""
        if self.tiers is not None and self.kv_cache_groups:
            self._check_tiers_of_groups(self.tiers)
        sizes = [group.block_size for group in self.kv_cache_groups]
        if len(set(sizes)) > 1 and any(group.kind == "chunked" for group in self.kv_cache_groups):
            raise ConfigError("vLLM finds no prefix of chunked attention beside groups with blocks of another size")
        interval, size = self.prefix_cache_retention_interval, math.lcm(self.block_size, *sizes)
        if interval and (interval < 0 or interval % size):
            raise ConfigError(
                f"prefix_cache_retention_interval is {interval}, expected a multiple of {size}, the tokens in a block"
            )
        if interval and not any(group.reach for group in self.kv_cache_groups):
            raise ConfigError(
                f"prefix_cache_retention_interval is {interval}, but no KV cache group slides or keeps states: leave "
                "it at 0"
            )
        for group in self.kv_cache_groups:
            if group.kind == "recurrent":
                self._check_states(group, sizes)

    def _check_tiers_of_groups(self, tiers: TierConfig) -> None:
        """Refuse tiers that vLLM does not have below several groups, or that are not modelled there."""
        if not tiers.native:
            raise ConfigError("memory tiers below a KV cache of several groups are not modelled: leave the tiers out")
        interval = self.prefix_cache_retention_interval
        for group in self.kv_cache_groups:
            chunk_tokens = group.block_size * tiers.blocks_per_chunk
            if interval and group.frees and interval % chunk_tokens:
                raise ConfigError(
                    f"prefix_cache_retention_interval ({interval}) must be a multiple of tokens_per_chunk "
                    f"({chunk_tokens}), as vLLM's native offload says"
                )

    def _check_states(self, group: GroupSpec, sizes: list[int]) -> None:
        """Refuse blocks of states that vLLM's mode `align`, or `none` without prefix caching, does not have."""
        if not self.enable_prefix_caching:
            if group.block_size < self.max_model_len:
                raise ConfigError(
                    f"recurrent layers have blocks of {group.block_size} tokens: without prefix caching one block "
                    f"holds the state of a whole turn, of up to {self.max_model_len} tokens"
                )
        elif set(sizes) != {self.block_size}:
            raise ConfigError(
                f"KV cache groups have blocks of {', '.join(str(size) for size in sorted(set(sizes)))} tokens: hits "
                f"inside blocks of recurrent layers are not modelled; give all groups block_size ({self.block_size})"
            )
        elif not self.enable_chunked_prefill:
            raise ConfigError("vLLM needs chunked prefill to cache states of recurrent layers: leave it on")

    def _check_speculation(self) -> None:
        """Refuse what vLLM does not combine with drafts, or what is not modelled beside them."""
        speculation = self.speculation
        if speculation is None:
            return
        if self.async_scheduling and not speculation.plans_ahead(self.vllm_version):
            raise ConfigError(
                f"vLLM {self.vllm_version} plans no step ahead with {speculation.method} drafts: "
                "turn async_scheduling off"
            )
        if self.kv_cache_groups:
            self._check_drafts_of_groups(speculation)
        if self.tiers is not None and not self.tiers.native:
            raise ConfigError("speculative decoding above memory tiers is not modelled: leave the tiers out")
        rows, threshold = 1 + speculation.num_speculative_tokens, self.long_prefill_token_threshold
        if 0 < threshold < rows:
            raise ConfigError(
                f"long_prefill_token_threshold is {threshold}, below the {rows} tokens of a turn in a step: vLLM cuts "
                "its drafts, and stops where it has padded a turn"
            )
        if self.max_num_batched_tokens < rows + speculation.draft_slots:
            raise ConfigError(
                f"max_num_batched_tokens is {self.max_num_batched_tokens}, below the {rows + speculation.draft_slots} "
                "of one turn with its drafts: vLLM would never admit a prompt that lacks one token"
            )

    def _check_drafts_of_groups(self, speculation: SpeculationConfig) -> None:
        """Refuse drafts whose effect on several groups is not modelled."""
        if self.drafter_group is not None:
            self._check_drafter_group(self.drafter_group)
        if self.tiers is not None:
            raise ConfigError("drafts beside several KV cache groups above memory tiers are not modelled")
        if speculation.method in EAGLE_METHODS and any(group.kind == "chunked" for group in self.kv_cache_groups):
            raise ConfigError(
                f"vLLM keeps no chunks beside {speculation.method} drafts: disable the hybrid KV cache manager, too"
            )

    def _check_drafter_group(self, number: int) -> None:
        """Refuse a group that the drafter cannot be in."""
        if not 0 <= number < len(self.kv_cache_groups):
            raise ConfigError(f"drafter_group is {number}, but there are {len(self.kv_cache_groups)} KV cache groups")
        if self.kv_cache_groups[number].kind == "recurrent":
            raise ConfigError(f"drafter_group is {number}, whose layers are recurrent, as no drafter's are")

    def _check_pipeline(self) -> None:
        """Refuse what is not modelled beside several stages."""
        for setting, flag in (self.speculation, "speculative decoding"), (self.tiers, "memory tiers"):
            if setting is not None:
                raise ConfigError(
                    f"{flag} beside pipeline_parallel_size {self.pipeline_parallel_size} is not modelled: leave one out"
                )

    def _check_version(self) -> None:
        """Refuse what the chosen vLLM lacks."""
        if self.vllm_version not in MIRRORED_VERSIONS:
            raise ConfigError(f"vllm_version is {self.vllm_version!r}, expected {' or '.join(MIRRORED_VERSIONS)}")
        if self.prefill_schedule_interval < 1:
            raise ConfigError(f"prefill_schedule_interval is {self.prefill_schedule_interval}, expected at least 1")
        if self.prefill_schedule_interval > 1 and self.vllm_version == "0.32":
            raise ConfigError(
                f"prefill_schedule_interval is {self.prefill_schedule_interval}, but on vLLM 0.32 it acts with data "
                "parallelism only: give --vllm-version 0.33, where it acts on every engine"
            )

    def most_prefill_tokens(self, turns: int) -> int:
        """Return the most prompt tokens of one turn in a step, if so many run or wait: one alone starves nobody."""
        threshold = self.long_prefill_token_threshold
        if not threshold or turns <= 1:
            return self.max_num_batched_tokens
        share = self.max_num_batched_tokens // turns if self.long_prefill_token_threshold_adaptive else 0
        return max(threshold, share)

    @property
    def drafting(self) -> SpeculationConfig | None:
        """Speculative decoding, if any, as it acts: beside a KV connector vLLM keeps its old block hashes (0.33)."""
        if self.speculation is None or self.tiers is None:
            return self.speculation
        return replace(self.speculation, disable_lookahead_block_hashes=True)

    @property
    def outlives_own_preemption(self) -> bool:
        """Whether the running pass goes on after a turn that had to preempt itself."""
        return self.scheduling_policy == "priority" and self.vllm_version != "0.32"

    @property
    def may_refuse(self) -> bool:
        """Whether the API server may refuse requests."""
        return self.max_num_queued_reqs is not None or self.max_num_queued_tokens is not None

    @property
    def pipelined(self) -> bool:
        """Whether there are several stages."""
        return self.pipeline_parallel_size > 1

    @property
    def max_concurrent_batches(self) -> int:
        """Most steps that may be planned and not over at any time, with vLLM's model runner V2, its default on GPUs."""
        return self.pipeline_parallel_size + self.async_scheduling

    @property
    def usable_blocks(self) -> int:
        """Blocks that can hold KV."""
        return self.num_gpu_blocks - 1

    def blocks_of(self, tokens: int) -> int:
        """Return the most blocks that a turn of so many tokens holds at once."""
        if self.speculation is not None:
            # A step reckons with all drafts, those of the step under way too, and with the slots of the drafter.
            drafts = self.speculation.num_speculative_tokens * self.max_concurrent_batches
            ahead = drafts + self.speculation.num_lookahead_tokens + self.max_concurrent_batches - 1
            tokens = min(tokens + ahead, self.max_model_len)
        if not self.kv_cache_groups:
            return -(-tokens // self.block_size)
        blocks = 0
        for group in self.kv_cache_groups:
            most = group.most_blocks(self.max_in_flight_tokens, self.max_model_len, ahead=self.async_scheduling)
            needed = -(-tokens // group.block_size)
            blocks += needed if most is None else min(needed, most)
            if self.speculation is not None and group.kind == "recurrent":
                blocks += self.speculation.num_speculative_tokens  # a state for each draft
        return blocks

    @property
    def max_in_flight_tokens(self) -> int:
        """Most tokens in steps that are planned and not over (`VllmConfig.max_in_flight_tokens`)."""
        return self.max_num_batched_tokens * self.max_concurrent_batches

    @property
    def most_tokens(self) -> int:
        """Most tokens of one turn whose blocks there are, up to `max_model_len`."""
        if not self.kv_cache_groups and self.speculation is None:
            return min(self.max_model_len, self.usable_blocks * self.block_size)
        return bisect_right(range(self.max_model_len + 1), self.usable_blocks, key=self.blocks_of) - 1

    @property
    def watermark_blocks(self) -> int:
        """Blocks the watermark keeps free (vLLM: int(watermark · num_blocks))."""
        return int(self.watermark * self.num_gpu_blocks)
