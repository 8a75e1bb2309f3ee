"""`continuum-sim hardware`: the catalogue, and what its GPUs give its models."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.setting_flags import option_of
from continuum_sim.vllm_defaults import BLOCK_SIZE, GPU_MEMORY_UTILIZATION, block_size_notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from continuum_sim.cli.tables import StackedTable
    from continuum_sim.hardware import GpuSpec, ModelSpec
    from continuum_sim.machines import Machine

_EXAMPLE = "llama-3.1-8b"


def hardware(
    model: Annotated[
        str | None,
        typer.Option(
            help="Models, by comma: names or config.json; `all` for the catalogue.",
            show_default=False,
            autocompletion=completer("model"),
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            help="GPUs, by comma. Default: those of the catalogue.", show_default=False, autocompletion=completer("gpu")
        ),
    ] = None,
    tensor_parallel_size: Annotated[
        int | None,
        typer.Option(
            "--tensor-parallel-size",
            "--tp",
            "-tp",
            help="GPUs a model is split over. Default: the fewest it fits.",
            show_default=False,
        ),
    ] = None,
    gpu_memory_utilization: Annotated[float, option_of("gpu_memory_utilization", panel="")] = GPU_MEMORY_UTILIZATION,
    block_size: Annotated[int, option_of("block_size", panel="")] = BLOCK_SIZE,
    max_model_len: Annotated[int, typer.Option(help="Tokens of KV cache below which a pair is not listed.")] = 32768,
    context: Annotated[int, typer.Option(help="Context of the decoding turns, in tokens.")] = 4096,
    step_time: Annotated[
        list[str] | None,
        typer.Option(
            help="Step-time model, as for run; may be repeated. Default: all that know the pair.",
            show_default=False,
            autocompletion=completer("step_time"),
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the GPUs and models there are, with KV capacity and step times under each step-time model side by side."""
    from rich.text import Text

    from continuum_sim.cli.console import show
    from continuum_sim.errors import ConfigError
    from continuum_sim.hardware import find_gpu, find_model, gpus, models
    from continuum_sim.machines import machines
    from continuum_sim.results.jsonfile import to_json

    if tensor_parallel_size is not None and tensor_parallel_size < 1:
        raise ConfigError(f"tensor_parallel_size is {tensor_parallel_size}, expected at least 1")
    wanted = _EXAMPLE if model is None else model
    chosen = list(models()) if wanted.strip() == "all" else [find_model(name) for name in wanted.split(",")]
    cards = list(gpus()) if gpu is None else [find_gpu(name) for name in gpu.split(",")]
    found = machines(
        chosen,
        cards,
        tensor_parallel_size=tensor_parallel_size,
        gpu_memory_utilization=gpu_memory_utilization,
        block_size=block_size,
        max_model_len=max_model_len,
        context_tokens=context,
        step_times=step_time,
    )
    notes = block_size_notes(block_size)
    if json:
        catalogue = {"gpus": [asdict(card) for card in gpus()], "models": [asdict(item) for item in models()]}
        print(
            to_json(
                {**catalogue, "context_tokens": context, "machines": [asdict(item) for item in found], "notes": notes}
            ),
            end="",
        )
        return
    all_there_is = (_gpus(gpus()), "", _models(models()), "") if model is None and gpu is None else ()
    show(*all_there_is, *_machines(found, context), *(Text(f"note: {note}", style="italic") for note in notes))


def _gpus(cards: Sequence[GpuSpec]) -> StackedTable:
    from continuum_sim.cli.tables import StackedTable, name, numbers, words
    from continuum_sim.hardware.gpus import GIB
    from continuum_sim.steptime.aiconfigurator import SYSTEMS

    columns = [name("--gpu"), words("interconnect"), words("aiconfigurator")]
    table = StackedTable([*columns, *numbers("memory GiB", "TB/s", "bf16 TFLOPS")], "GPUs")
    for card in cards:
        sizes = (f"{card.memory_bytes / GIB:.1f}", f"{card.memory_bandwidth_bytes_per_s / 1e12:.2f}")
        peak = f"{card.bf16_dense_flops / 1e12:,.0f}"
        table.add_row(card.name, card.interconnect, SYSTEMS.get(card.name, "–"), *sizes, peak)
    return table


def _models(found: Sequence[ModelSpec]) -> StackedTable:
    from continuum_sim.cli.tables import StackedTable, name, numbers
    from continuum_sim.hardware import kv_bytes_per_token

    heads = ("parameters", "layers", "KV KiB a token", "longest context")
    table = StackedTable([name("--model"), *numbers(*heads)], "Models")
    for item in found:
        kib = kv_bytes_per_token(item) / 1024
        sizes = (f"{item.n_params / 1e9:.1f} G", str(item.n_layers), f"{kib:,.0f}")
        table.add_row(item.name, *sizes, f"{item.max_position_embeddings:,}")
    return table


def _machines(found: Sequence[Machine], context: int) -> tuple[Any, ...]:
    from rich.text import Text

    from continuum_sim.cli.tables import StackedTable, name, numbers

    heads = numbers("KV blocks", "KV tokens", "decode 1", "decode 32", "prefill 2,048", "prefill 8,192")
    table = StackedTable(
        [name("model"), name("GPUs"), *heads[:2], name("--step-time"), *heads[2:]],
        f"Together: KV cache, and milliseconds of a step (turns decoding at a context of {context:,} tokens)",
    )
    for item in found:
        blocks = {"aiconfigurator": item.kv_blocks_aiconfigurator}
        for place, times in enumerate(item.step_times):
            model = times.step_time.partition(":")[0]
            first = (
                item.model,
                f"{item.tensor_parallel_size} x {item.gpu}",
                f"{item.kv_blocks:,}",
                f"{item.kv_tokens:,}",
            )
            other = blocks.get(model)
            again = ("", "", "" if other is None else f"({other:,})", "")
            seconds = (times.decode_1_s, times.decode_32_s, times.prefill_2k_s, times.prefill_8k_s)
            table.add_row(*(again if place else first), times.step_time, *(f"{1e3 * s:,.1f}" for s in seconds))
    said = "KV blocks in brackets: aiconfigurator's estimate. A run takes the other, or --kv-blocks, which always wins."
    shown = any(item.kv_blocks_aiconfigurator is not None for item in found)
    return (table, *((Text(said, style="dim"),) if shown else ()))
