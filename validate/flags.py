"""The flags that say which engine it is, once for all commands that take them; vLLM's names and meanings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from continuum_sim.cli.flag_groups import refuse_given

if TYPE_CHECKING:
    from continuum_sim.validate.engines.options import EngineOptions
    from continuum_sim.validate.engines.server import ServerSettings

ENGINE: Final = "Engine"
SERVER: Final = "Running server"
LOAD: Final = "Load"
OUTPUT: Final = "Output"


def _engine(text: str, **bounds: Any) -> Any:
    return typer.Option(help=text, show_default=False, rich_help_panel=ENGINE, **bounds)


def _server(text: str, **bounds: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=SERVER, **bounds)


@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """Settings that simulated and real engines have in common; None leaves one to what is known of the engine."""

    model: Annotated[str | None, _engine("Model.")] = None
    tensor_parallel_size: Annotated[int | None, _engine("GPUs the model is split over.", min=1)] = None
    block_size: Annotated[int | None, _engine("Tokens in a KV block.", min=1)] = None
    max_num_batched_tokens: Annotated[int | None, _engine("Token budget of a step, the chunk size.", min=1)] = None
    max_num_seqs: Annotated[int | None, _engine("Most turns that run at once.", min=1)] = None
    max_model_len: Annotated[int | None, _engine("Longest prompt plus output, in tokens.", min=1)] = None
    kv_blocks: Annotated[int | None, _engine("KV blocks, as vLLM's num_gpu_blocks.", min=2)] = None


@dataclass(frozen=True, kw_only=True)
class RunningEngineFlags(EngineFlags):
    """An engine that runs: vLLM started here, or a server. None leaves a setting to vLLM, or to what a server tells."""

    model: Annotated[
        str | None,
        _engine(
            "Folder or name of a model that vLLM loads; or tiny, a small Llama of random weights, for any CPU; or "
            "nano, a smaller one still, for --pace. Default: tiny, with --pace nano."
        ),
    ] = None
    gpu_memory_utilization: Annotated[float | None, _engine("Share of GPU memory the engine may use.")] = None
    async_scheduling: Annotated[
        bool,
        typer.Option(
            "--async-scheduling",
            help="Let vLLM schedule a step ahead. The simulator does not: expect arrivals to act one step later.",
            rich_help_panel=ENGINE,
        ),
    ] = False
    engine_arg: Annotated[
        list[str] | None, _engine("Any other engine argument of vLLM, as dtype=bfloat16; repeatable.")
    ] = None
    timeout: Annotated[float, _server("Seconds of silence after which a server is given up.", min=1)] = 600.0
    vocab_size: Annotated[int, _server("Prompts hold random token ids below this.", min=16)] = 32_000

    def check(self, context: typer.Context, served: bool) -> None:
        """Refuse what acts only on an engine that is started here if a server is asked, and the other way round.

        Raises
        ------
        ConfigError
            Naming the flags.
        """
        if served:
            refuse_given(context, _STARTED, "the server of --base-url was started with its own")
        else:
            refuse_given(context, _SERVED, "used only with --base-url")

    def options(self, model: str) -> EngineOptions:
        """Return how to start vLLM, with a model for where none is given."""
        from continuum_sim.validate.engines.options import EngineOptions, parse_engine_args

        return EngineOptions(
            model=self.model or model,
            max_model_len=self.max_model_len,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
            block_size=self.block_size,
            num_gpu_blocks_override=self.kv_blocks,
            tensor_parallel_size=self.tensor_parallel_size or 1,
            gpu_memory_utilization=self.gpu_memory_utilization,
            async_scheduling=self.async_scheduling,
            extra=parse_engine_args(self.engine_arg or ()),
        )

    def server(self) -> ServerSettings:
        """Return what a server may not tell of itself."""
        from continuum_sim.validate.engines.server import ServerSettings

        return ServerSettings(
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
            vocab_size=self.vocab_size,
            num_gpu_blocks=self.kv_blocks,
            block_size=self.block_size,
            max_model_len=self.max_model_len,
            timeout_s=self.timeout,
        )


_STARTED: Final = ("model", "tensor_parallel_size", "gpu_memory_utilization", "async_scheduling", "engine_arg")
_SERVED: Final = ("timeout", "vocab_size")
