"""Options that say which engine to use: vLLM started here, or a server that is already running."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from continuum_sim.cli.setting_flags import Flags, option_of, takes_settings, with_parameters
from continuum_sim.cli.unused import refuse_unused
from continuum_sim.setup.settings import ENGINE

if TYPE_CHECKING:
    from continuum_sim.validate.engines.options import EngineOptions
    from continuum_sim.validate.engines.server import ServerSettings

SERVER: Final = "Running server"
BATCHES_AND_BLOCKS: Final = ("kv_blocks", "block_size", "max_num_batched_tokens", "max_num_seqs", "max_model_len")
"""Settings of any engine, simulated or real."""
_OF_STARTED: Final = ("tensor_parallel_size", "gpu_memory_utilization")
_OWN: Final = "the engine's own"


@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """Options about the engine, see `takes_engine`: settings of a run, and those below."""

    settings: Flags
    """None leaves a setting to vLLM, or to what a server reports."""
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder or name of a model that vLLM loads; tiny, a small Llama of random weights, for any CPU; "
            "tiny-gemma3, with sliding windows; or nano, a smaller Llama still. Default: tiny, with --pace nano.",
            show_default=False,
            rich_help_panel=ENGINE,
        ),
    ] = None
    async_scheduling: Annotated[
        bool | None, option_of("async_scheduling", unset="vLLM's, on unless it starts on a CPU")
    ] = None
    speculative_config: Annotated[
        str | None,
        option_of(
            "speculative_config",
            unset="none. How many drafts are accepted is measured unless rates are given, to which vLLM then keeps",
        ),
    ] = None
    engine_arg: Annotated[
        list[str] | None,
        typer.Option(help="Any other engine argument of vLLM, as dtype=bfloat16; repeatable.", rich_help_panel=ENGINE),
    ] = None
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds of silence after which a server is given up.", rich_help_panel=SERVER)
    ] = 600.0
    vocab_size: Annotated[
        int, typer.Option(min=16, help="Prompts hold random token ids below this.", rich_help_panel=SERVER)
    ] = 32_000

    def check(self, context: typer.Context, *, served: bool) -> None:
        """Refuse options without effect: start-up settings with a server, settings of servers without one.

        Raises
        ------
        ------
        ConfigError
            Naming the options.
        """
        if served:
            started = ("model", *_OF_STARTED, "speculative_config", "engine_arg")
            refuse_unused(context, started, "the server of --base-url was started with its own")
        else:
            refuse_unused(context, ("timeout", "vocab_size"), "used only with --base-url")

    def options(self, model: str) -> EngineOptions:
        """Return how to start vLLM; it serves `model` unless the options name one."""
        from continuum_sim.setup.speculation import vllms_speculation
        from continuum_sim.validate.engines.options import EngineOptions, parse_engine_args

        settings = dict(self.settings)
        told, rates = (None, None) if self.speculative_config is None else vllms_speculation(self.speculative_config)
        return EngineOptions(
            model=self.model or model,
            num_gpu_blocks_override=settings.pop("kv_blocks"),
            tensor_parallel_size=settings.pop("tensor_parallel_size") or 1,
            async_scheduling=self.async_scheduling,
            speculative_config=told,
            acceptance_rates=rates,
            extra=parse_engine_args(self.engine_arg or ()),
            **settings,
        )

    def server(self) -> ServerSettings:
        """Return the settings that a server may not report."""
        from continuum_sim.validate.engines.server import ServerSettings

        settings = {name: self.settings[name] for name in BATCHES_AND_BLOCKS}
        return ServerSettings(
            num_gpu_blocks=settings.pop("kv_blocks"),
            async_scheduling=self.async_scheduling is not False,
            vocab_size=self.vocab_size,
            timeout_s=self.timeout,
            **settings,
        )


def takes_engine(longest: str = _OWN) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command so that its parameter `engine: EngineFlags` becomes one option per field and setting.

    Parameters
    ----------
    longest
        What the command does without --max-model-len, for its help.
    """
    settings = (*_OF_STARTED, *BATCHES_AND_BLOCKS)
    unset = dict.fromkeys(settings, _OWN)
    unset |= {"tensor_parallel_size": "1", "kv_blocks": "all that fit", "max_model_len": longest}
    hints = get_type_hints(EngineFlags, include_extras=True)
    option = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
    own = [
        option(field.name, default=field.default, annotation=hints[field.name])
        for field in fields(EngineFlags)
        if field.name != "settings"
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def call(given: dict[str, Any]) -> None:
            taken = {field.name: given.pop(field.name) for field in fields(EngineFlags)}
            command(engine=EngineFlags(**taken), **given)

        inner = with_parameters(command, "engine", [*own, option("settings")], call)
        return takes_settings(*settings, into="settings", unset=unset)(inner)

    return decorate
