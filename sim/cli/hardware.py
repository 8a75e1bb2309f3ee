"""`continuum-sim hardware`: the catalogue, with KV capacity and step times of its models on its GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.setting_flags import option_of
from continuum_sim.setup.setting_types import All2AllBackend, KvCacheDtype
from continuum_sim.vllm_defaults import BLOCK_SIZE, GPU_MEMORY_UTILIZATION, block_size_notes

if TYPE_CHECKING:
    from continuum_sim.hardware import ModelSpec

_EXAMPLE = "llama-3.1-8b"


def hardware(
    one_model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A model to show on each GPU: the fewest it fits, what they cost, what limits its steps.",
            show_default=False,
            autocompletion=completer("model"),
        ),
    ] = None,
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
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="How MODEL is split, as tp=8 or tp=2,pp=2,dp=4,ep: what communication costs; may be repeated.",
            show_default=False,
        ),
    ] = None,
    link: Annotated[str | None, option_of("link", panel="")] = None,
    node_link: Annotated[str | None, option_of("node_link", panel="")] = None,
    all2all_backend: Annotated[All2AllBackend, option_of("all2all_backend", panel="")] = "allgather_reducescatter",
    enable_dbo: Annotated[bool, option_of("enable_dbo", panel="")] = False,
    gpu_memory_utilization: Annotated[float, option_of("gpu_memory_utilization", panel="")] = GPU_MEMORY_UTILIZATION,
    block_size: Annotated[int, option_of("block_size", panel="")] = BLOCK_SIZE,
    kv_cache_dtype: Annotated[KvCacheDtype, option_of("kv_cache_dtype", panel="")] = "auto",
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
    price: Annotated[
        str | None,
        typer.Option(help="Dollars per GPU-hour: a number, or GPU=PRICE,...; for MODEL.", show_default="a dated list"),
    ] = None,
    json: Json = False,
) -> None:
    """List the GPUs and models there are, with KV capacity and step times under each step-time model side by side.

    With MODEL: what serves it, at what cost, and what its steps wait for.
    """
    from continuum_sim.cli.console import show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.errors import ConfigError
    from continuum_sim.hardware import find_gpu, find_model, gpus, models
    from continuum_sim.hardware.kv import served_with
    from continuum_sim.hardware.parallel import ONE_GPU, Parallel
    from continuum_sim.hardware.splits import parse_split
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.results.view.hardware import hardware_view
    from continuum_sim.setup.engine_notes import model_notes
    from continuum_sim.steptime.machines import machines

    if tensor_parallel_size is not None and tensor_parallel_size < 1:
        raise ConfigError(f"tensor_parallel_size is {tensor_parallel_size}, expected at least 1")
    links = Parallel(link=link, node_link=node_link, all2all_backend=all2all_backend, enable_dbo=enable_dbo)
    if one_model is None and links != ONE_GPU:
        raise ConfigError("--link, --node-link, --all2all-backend and --enable-dbo are of one MODEL: name it")
    if split is not None and (one_model is None or tensor_parallel_size is not None):
        raise ConfigError("--split is of one MODEL, and says all of how it is split: give MODEL, and no --tp")
    if one_model is not None:
        if model is not None or (step_time is not None and len(step_time) > 1):
            raise ConfigError("MODEL is shown by itself, with one --step-time; for lists give --model alone")
        _show_model(
            served_with(find_model(one_model), kv_cache_dtype),
            None if gpu is None else gpu.split(","),
            price,
            context,
            json=json,
            tensor_parallel_size=tensor_parallel_size,
            splits=[parse_split(text) for text in split or ()],
            links=links,
            gpu_memory_utilization=gpu_memory_utilization,
            block_size=block_size,
            max_model_len=max_model_len,
            step_time=step_time[0] if step_time else "roofline",
        )
        return
    wanted = _EXAMPLE if model is None else model
    named = list(models()) if wanted.strip() == "all" else [find_model(name) for name in wanted.split(",")]
    chosen = [served_with(item, kv_cache_dtype) for item in named]
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
    notes = [*block_size_notes(block_size), *(note for item in chosen for note in model_notes(item))]
    if json:
        catalogue = {"gpus": [asdict(card) for card in gpus()], "models": [item.describe() for item in models()]}
        print(
            to_json(
                {**catalogue, "context_tokens": context, "machines": [asdict(item) for item in found], "notes": notes}
            ),
            end="",
        )
        return
    everything = model is None and gpu is None
    show(lay_out(hardware_view(gpus() if everything else (), models() if everything else (), found, context, notes)))


def _show_model(
    model: ModelSpec, wanted: Sequence[str] | None, price: str | None, context: int, *, json: bool, **settings: Any
) -> None:
    from continuum_sim.cli.console import show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.errors import ConfigError
    from continuum_sim.hardware import find_gpu, gpus
    from continuum_sim.hardware.prices import parse_prices
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.results.view.hardware import model_view
    from continuum_sim.setup.engine_notes import model_notes
    from continuum_sim.steptime.model_on_gpus import model_on_gpus

    cards = gpus() if wanted is None else [find_gpu(name) for name in wanted]
    served, unfit = model_on_gpus(model, cards, context_tokens=context, prices=parse_prices(price), **settings)
    if not served and wanted is not None:
        raise ConfigError(f"{model.name} does not fit " + "; ".join(f"{one.gpu} ({one.reason})" for one in unfit))
    notes = [*block_size_notes(settings["block_size"]), *model_notes(model)]
    if json:
        found = {"served": [asdict(one) for one in served], "does_not_fit": [asdict(one) for one in unfit]}
        print(to_json({"model": model.describe(), "context_tokens": context, **found, "notes": notes}), end="")
        return
    show(lay_out(model_view(model, served, unfit, context, notes, splits=bool(settings["splits"]))))
