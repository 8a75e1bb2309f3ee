"""The flags that commands share, in one place. Engine flags carry vLLM's names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from continuum_sim.cli.scenario_flags import is_given, say_notes, settings_of
from continuum_sim.vllm_defaults import BLOCK_SIZE, GPU_MEMORY_UTILIZATION

if TYPE_CHECKING:
    from continuum_sim.run_config import RunConfig

_LOAD: Final = "Load"
_ENGINE: Final = "Engine"
_TOOLS: Final = "Tools"
_OUTPUT: Final = "Output"


class Reload(StrEnum):
    """When blocks come back from a lower memory tier."""

    faster = "faster"
    always = "always"


class EngineMode(StrEnum):
    """How time advances; the results are the same."""

    fast = "fast"
    stepwise = "stepwise"


def _load(text: str, *, default: bool = True) -> Any:
    return typer.Option(help=text, show_default=default, rich_help_panel=_LOAD)


def _engine(text: str, *, default: bool = True) -> Any:
    return typer.Option(help=text, show_default=default, rich_help_panel=_ENGINE)


def _tools(text: str) -> Any:
    return typer.Option(help=text, show_default=False, rich_help_panel=_TOOLS)


Out = Annotated[Path | None, typer.Option(help="Directory to write the results to.", rich_help_panel=_OUTPUT)]
Force = Annotated[bool, typer.Option("--force", help="Let --out replace earlier results.", rich_help_panel=_OUTPUT)]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.", rich_help_panel=_OUTPUT)
]
Decisions = Annotated[
    bool,
    typer.Option("--decisions", help="Log every decision (decisions.jsonl in --out).", rich_help_panel=_OUTPUT),
]


@dataclass(frozen=True)
class RunFlags:
    """Load and engine of a run: everything but the policy and the seed."""

    trace: Annotated[str, _load("Trace file, or a bundled trace (see `trace list`).")] = "swebench.jsonl"
    arrivals: Annotated[
        str | None,
        _load(
            "When programs arrive: poisson:rate=0.1, gamma:rate=0.1,cv=2, uniform:rate=0.1, burst, "
            "closed:workers=64 or trace. Default: the trace's own times if it has them, else poisson:rate=0.1.",
            default=False,
        ),
    ] = None
    limit: Annotated[int | None, _load("Only the first so many programs of the trace.", default=False)] = None
    max_turns: Annotated[int | None, _load("Cut every program after so many turns.", default=False)] = None
    repeat_turns: Annotated[float, _load("Times as many turns a program, of as many tokens less each.")] = 1.0

    tool_workers: Annotated[
        str | None, _tools("Tool calls that run at once: 16, or per tool bash:4,*:16. Default: no bound.")
    ] = None
    tool_timeout: Annotated[
        str | None, _tools("Seconds after which a tool call is cut short; per tool likewise. Default: never.")
    ] = None
    tool_failure_rate: Annotated[
        str | None, _tools("Probability that a tool call fails, drawn from the seed; per tool likewise. Default: 0.")
    ] = None
    tool_retries: Annotated[
        str | None, _tools("Retries of a call that timed out or failed; per tool likewise. Default: 1.")
    ] = None

    model: Annotated[str, _engine("Model of the catalogue, or a Hugging Face config.json.")] = "llama-3.1-8b"
    gpu: Annotated[str, _engine("GPU of the catalogue.")] = "a100-80"
    tensor_parallel_size: Annotated[int, _engine("GPUs the model is split over.")] = 1
    gpu_memory_utilization: Annotated[float, _engine("Share of GPU memory the engine may use.")] = (
        GPU_MEMORY_UTILIZATION
    )
    block_size: Annotated[int, _engine("Tokens in a KV block.")] = BLOCK_SIZE
    max_num_batched_tokens: Annotated[
        int | None, _engine("Token budget of a step, the chunk size. Default: vLLM's for the GPU.", default=False)
    ] = None
    max_num_seqs: Annotated[
        int | None, _engine("Most turns that run at once. Default: vLLM's for the GPU.", default=False)
    ] = None
    max_model_len: Annotated[
        int | None, _engine("Longest prompt plus output, in tokens. Default: the model's.", default=False)
    ] = None
    kv_blocks: Annotated[
        int | None,
        _engine("KV blocks, as vLLM's num_gpu_blocks. Default: what fits the GPU's memory.", default=False),
    ] = None
    watermark: Annotated[float, _engine("Share of blocks kept free when a turn is admitted.")] = 0.0
    replicas: Annotated[
        str,
        _engine("Engines behind one router: a number, or GPUs, as h100:2,a100-80:4 or h100:2:dram_gb=200,a100-80:4."),
    ] = "1"
    router: Annotated[
        str | None,
        _engine(
            "How turns find their replica: round-robin, least-loaded, session-affinity, prefix-aware, saga-placement, "
            "autellix. Default: the policy's own, else session-affinity.",
            default=False,
        ),
    ] = None
    dram_gb: Annotated[float, _engine("Host memory for KV below the KV cache, in GB (10^9 bytes); 0: none.")] = 0.0
    dram_gbps: Annotated[float, _engine("Bandwidth of the link to it, in GB/s.")] = 31.5
    ssd_gb: Annotated[float, _engine("SSD space for what host memory evicts, in GB; 0: none.")] = 0.0
    ssd_gbps: Annotated[float, _engine("Bandwidth of the link to it, in GB/s.")] = 6.9
    reload: Annotated[Reload, _engine("Reload from a tier where that is faster than computing, or always.")] = (
        Reload.faster
    )
    step_time: Annotated[str, _engine("How long steps take: roofline, aiconfigurator, fitted:FILE, …")] = "roofline"
    engine: Annotated[EngineMode, _engine("Jump over equal steps, or take each one: the same results.")] = (
        EngineMode.fast
    )

    def config(self, policy: str, seed: int) -> RunConfig:
        """Return the run these flags describe.

        Raises
        ------
        ConfigError
            For a number out of range.
        """
        from continuum_sim.run_config import RunConfig

        return RunConfig(policy=policy, seed=seed, **self.as_settings())

    def as_settings(self) -> dict[str, Any]:
        """Return the flags as keyword arguments of `RunConfig`."""
        return {**asdict(self), "engine": self.engine.value, "reload": self.reload.value}


def given_flags(context: typer.Context, flags: RunFlags) -> dict[str, Any]:
    """Return those flags that the command line names, as keyword arguments of `RunConfig`."""
    return {name: value for name, value in flags.as_settings().items() if is_given(context, name)}


def takes_run_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command whose parameter `flags: RunFlags` shall become --scenario and one option a field."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())
    hints = get_type_hints(RunFlags, include_extras=True)
    scenario = inspect.Parameter("scenario", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Scenario)
    shared = [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=hints[item.name])
        for item in fields(RunFlags)
    ]

    @wraps(command)
    def wrapper(**given: Any) -> None:
        chosen = given.pop("scenario")
        if chosen is not None:
            given.update(settings_of(chosen, given))
        flags = RunFlags(**{item.name: given.pop(item.name) for item in shared})
        command(flags=flags, **given)
        if chosen is not None:
            say_notes(given["context"])

    kept = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own if item.name != "flags"]
    parameters = [*kept, scenario, *shared]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper


_Scenario = Annotated[
    str | None,
    _load("Settings of a published experiment (see `scenarios`), or a TOML file; flags given win.", default=False),
]
