"""`continuum-sim calibrate` and `continuum-sim validate`: the simulator against a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from continuum_sim.validate.engines.options import EngineOptions
    from continuum_sim.validate.engines.server import ServerSettings

_ENGINE, _SERVER, _LOAD, _OUTPUT, _LOG = "Engine", "Running server", "Load", "Output", "Recorded run"

Model = Annotated[
    str | None,
    typer.Option(
        help="Folder or name of a model that vLLM loads, or tiny: a small Llama of random weights, for any CPU; or "
        "nano: a smaller one still, for --pace.",
        show_default="tiny",
        rich_help_panel=_ENGINE,
    ),
]
TensorParallelSize = Annotated[
    int | None, typer.Option(min=1, help="GPUs the model is split over.", show_default="1", rich_help_panel=_ENGINE)
]
GpuMemoryUtilization = Annotated[
    float | None, typer.Option(help="Share of GPU memory the engine may use.", rich_help_panel=_ENGINE)
]
KvBlocks = Annotated[
    int | None,
    typer.Option(min=2, help="KV blocks, to make memory scarce. Default: all that fit.", rich_help_panel=_ENGINE),
]
BlockSize = Annotated[int | None, typer.Option(min=1, help="Tokens in a KV block.", rich_help_panel=_ENGINE)]
MaxNumBatchedTokens = Annotated[
    int | None, typer.Option(min=1, help="Token budget of a step.", rich_help_panel=_ENGINE)
]
MaxNumSeqs = Annotated[int | None, typer.Option(min=1, help="Most turns that run at once.", rich_help_panel=_ENGINE)]
MaxModelLen = Annotated[
    int | None, typer.Option(min=2, help="Longest prompt plus output, in tokens.", rich_help_panel=_ENGINE)
]
AsyncScheduling = Annotated[
    bool,
    typer.Option(
        "--async-scheduling",
        help="Let vLLM schedule a step ahead. The simulator does not: expect arrivals to act one step later.",
        rich_help_panel=_ENGINE,
    ),
]
EngineArg = Annotated[
    list[str] | None,
    typer.Option(help="Any other engine argument of vLLM, as dtype=bfloat16; repeatable.", rich_help_panel=_ENGINE),
]
Timeout = Annotated[
    float, typer.Option(min=1, help="Seconds of silence after which a server is given up.", rich_help_panel=_SERVER)
]
VocabSize = Annotated[
    int, typer.Option(min=16, help="Prompts hold random token ids below this.", rich_help_panel=_SERVER)
]


def calibrate(
    out: Annotated[Path, typer.Option(help="Step-time model to write (JSON); a picture of the fit goes beside it.")],
    model: Model = None,
    tensor_parallel_size: TensorParallelSize = None,
    gpu_memory_utilization: GpuMemoryUtilization = None,
    kv_blocks: KvBlocks = None,
    block_size: BlockSize = None,
    max_num_batched_tokens: MaxNumBatchedTokens = None,
    max_num_seqs: MaxNumSeqs = None,
    max_model_len: MaxModelLen = None,
    async_scheduling: AsyncScheduling = False,
    engine_arg: EngineArg = None,
    base_url: Annotated[
        str | None, typer.Option(help="Measure this running server from outside.", rich_help_panel=_SERVER)
    ] = None,
    timeout: Timeout = 600.0,
    vocab_size: VocabSize = 32_000,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Measure anew and replace --out.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")] = False,
) -> None:
    """Measure how long an engine's steps take, and fit a model that `run --step-time fitted:FILE` takes.

    Goes on where an interrupted calibration with the same --out stopped.
    """
    from continuum_sim.cli.outcome import print_written
    from continuum_sim.errors import ConfigError
    from continuum_sim.validate.calibration.command import calibrate_engine
    from continuum_sim.validate.engines.server import Servers

    if out.exists() and not force:
        raise ConfigError(f"--out {out} is there already; replace it with --force")
    settings = _server_settings(kv_blocks, block_size, max_num_batched_tokens, max_num_seqs, vocab_size, timeout)
    options = _options(
        model,
        tensor_parallel_size=tensor_parallel_size,
        gpu_memory_utilization=gpu_memory_utilization,
        kv_blocks=kv_blocks,
        block_size=block_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        async_scheduling=async_scheduling,
        engine_arg=engine_arg,
    )
    with _orderly():
        start = None if base_url is None else Servers({"": base_url}, settings)
        model_of_steps = calibrate_engine(out, options, start, seed=seed, force=force, say=_say)
    if json:
        print_written(out, residuals=model_of_steps.provenance["residuals"])


def validate(
    context: typer.Context,
    trace: Annotated[
        str, typer.Option(help="Trace file, or the name of a bundled one.", rich_help_panel=_LOAD)
    ] = "swebench.jsonl",
    policies: Annotated[
        str, typer.Option(help="Policies to compare, the baseline first.", rich_help_panel=_LOAD)
    ] = "lru,program-fifo,ttl-static,ttl",
    model: Model = None,
    arrivals: Annotated[
        str | None,
        typer.Option(
            help="When programs arrive, as for run. Default: the trace's own times, else poisson:rate=0.1.",
            show_default=False,
            rich_help_panel=_LOAD,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of arrivals and prompts.", rich_help_panel=_LOAD)] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many programs.", rich_help_panel=_LOAD)
    ] = None,
    max_turns: Annotated[
        int | None, typer.Option(min=1, help="Cut every program after so many turns.", rich_help_panel=_LOAD)
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Divide token counts and tool times, as tokens=8,gaps=4, so that a trace fits a small model.",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of every policy, in alternation.")] = 3,
    draws: Annotated[int, typer.Option(min=1, help="Simulations that a prediction is the mean of.")] = 8,
    step_time: Annotated[
        str | None,
        typer.Option(
            help="fitted:FILE of a calibration; without it the engine is calibrated first. With --pace: any step-time "
            "model of `run`, roofline unless given.",
            show_default=False,
        ),
    ] = None,
    pace: Annotated[
        str | None,
        typer.Option(
            help="Hold every step to the time it would take a model on a GPU, as llama-3.1-8b@rtx-4090 or "
            "llama-3.1-70b@4xh100: shows on any machine how far decisions agree at that speed.",
            show_default=False,
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest error of a mean JCT, as a share; exit code 1 beyond it.")
    ] = 0.05,
    tensor_parallel_size: TensorParallelSize = None,
    gpu_memory_utilization: GpuMemoryUtilization = None,
    kv_blocks: KvBlocks = None,
    block_size: BlockSize = None,
    max_num_batched_tokens: MaxNumBatchedTokens = None,
    max_num_seqs: MaxNumSeqs = None,
    max_model_len: MaxModelLen = None,
    async_scheduling: AsyncScheduling = False,
    engine_arg: EngineArg = None,
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            help="Running server, with the plug-in and the policy; once for every policy, in their order.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    timeout: Timeout = 600.0,
    vocab_size: VocabSize = 32_000,
    recorded: Annotated[
        Path | None,
        typer.Option(help="Log of a run that is over: compare with it, start no engine.", rich_help_panel=_LOG),
    ] = None,
    format: Annotated[str | None, typer.Option(help="Its format. Default: told from it.", rich_help_panel=_LOG)] = None,
    gpu: Annotated[str | None, typer.Option(help="GPU it ran on. Default: as it says.", rich_help_panel=_LOG)] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the validation.", show_default="validation", rich_help_panel=_OUTPUT),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the validation in --out.", rich_help_panel=_OUTPUT)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --recorded: let --out replace results.", rich_help_panel=_OUTPUT)
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON on standard output.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Predict every policy, run it on a real engine, and compare.

    Exit code 0 if every mean JCT is within --tolerance, 1 if one is not, 2 if it could not be done.
    """
    engine = {
        "tensor_parallel_size": tensor_parallel_size,
        "kv_blocks": kv_blocks,
        "block_size": block_size,
        "max_num_batched_tokens": max_num_batched_tokens,
        "max_num_seqs": max_num_seqs,
        "max_model_len": max_model_len,
    }
    if recorded is not None:
        from continuum_sim.errors import ConfigError
        from continuum_sim.validate.recorded import print_recorded, run_recorded

        if pace is not None:
            raise ConfigError(f"--pace {pace} holds the steps of an engine, and --recorded starts none; leave one out")

        given = {} if step_time is None else {"step_time": step_time}
        settings = {**engine, **given, "model": model, "gpu": gpu, "tolerance": tolerance, "seed": seed}
        report = run_recorded(
            recorded,
            format=format,
            out=out,
            force=force,
            command=context.obj,
            **settings,  # type: ignore[arg-type]
        )
        code = print_recorded(report, json=json)
        if out is not None:
            _say(f"wrote {out}")
        raise typer.Exit(code)

    from continuum_sim.validate.command import Asked, validate_engine
    from continuum_sim.validate.engines.options import NANO
    from continuum_sim.validate.pace import parse_pace

    held = None if pace is None else parse_pace(pace, step_time or "roofline")
    asked = Asked(
        trace=trace,
        policies=policies,
        arrivals=arrivals,
        seed=seed,
        limit=limit,
        max_turns=max_turns,
        scale=scale,
        repeats=repeats,
        draws=draws,
        step_time=None if held else step_time,
        pace=held,
        tolerance=tolerance,
        engine=_options(
            model or (NANO if held else None),
            gpu_memory_utilization=gpu_memory_utilization,
            async_scheduling=async_scheduling,
            engine_arg=engine_arg,
            **engine,
        ),
        base_urls=tuple(base_url or ()),
        server=_server_settings(kv_blocks, block_size, max_num_batched_tokens, max_num_seqs, vocab_size, timeout),
    )
    with _orderly():
        within = validate_engine(asked, out or Path("validation"), resume=resume, json=json, say=_say)
    raise typer.Exit(0 if within else 1)


def _options(
    model: str | None,
    *,
    tensor_parallel_size: int | None,
    gpu_memory_utilization: float | None,
    kv_blocks: int | None,
    block_size: int | None,
    max_num_batched_tokens: int | None,
    max_num_seqs: int | None,
    max_model_len: int | None,
    async_scheduling: bool,
    engine_arg: list[str] | None,
) -> EngineOptions:
    from continuum_sim.validate.engines.options import TINY, EngineOptions, parse_engine_args

    return EngineOptions(
        model=model or TINY,
        max_model_len=max_model_len,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        block_size=block_size,
        num_gpu_blocks_override=kv_blocks,
        tensor_parallel_size=tensor_parallel_size or 1,
        gpu_memory_utilization=gpu_memory_utilization,
        async_scheduling=async_scheduling,
        extra=parse_engine_args(engine_arg or ()),
    )


def _server_settings(
    kv_blocks: int | None,
    block_size: int | None,
    max_num_batched_tokens: int | None,
    max_num_seqs: int | None,
    vocab_size: int,
    timeout_s: float,
) -> ServerSettings:
    from continuum_sim.validate.engines.server import ServerSettings

    return ServerSettings(
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        vocab_size=vocab_size,
        num_gpu_blocks=kv_blocks,
        block_size=block_size,
        timeout_s=timeout_s,
    )


def _say(text: str) -> None:
    typer.echo(text, err=True)


@contextmanager
def _orderly() -> Iterator[None]:
    """Report an engine's failure as a line and exit code 2, and an interruption with what is kept."""
    from continuum_sim.cli.errors import interruptible, say_error
    from continuum_sim.validate.engines.interface import EngineError

    try:
        with interruptible("interrupted; what was finished is kept, and the same command goes on with it"):
            yield
    except EngineError as error:
        say_error(error)
        raise typer.Exit(2) from None
