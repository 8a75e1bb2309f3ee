"""The rows of the hardware catalogue, and of each model on each GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from continuum_sim.results.view.parts import Note, Table, View, name, numbers, words

if TYPE_CHECKING:
    from continuum_sim.hardware import GpuSpec, ModelSpec
    from continuum_sim.steptime.machines import Machine
    from continuum_sim.steptime.model_on_gpus import Served, Step, Unfit

_WORK: Final = {
    "linear": "linear",
    "experts": "experts",
    "lm_head": "LM head",
    "attention_prefill": "attention",
    "attention_decode": "attention",
    "indexer": "indexer",
    "states": "states",
    "moved": "small kernels",
    "all_reduce": "all-reduce",
    "exchange": "exchange of tokens",
    "launch": "launches",
    "host": "host",
}
_LIMIT: Final = {"computing": " compute", "reading": " read", "links": "", "latency": ""}
_NAMED: Final = 2
"""Kinds of work that a line names; `--json` has all."""


def hardware_view(
    cards: Sequence[GpuSpec],
    models: Sequence[ModelSpec],
    machines: Sequence[Machine],
    context_tokens: int,
    notes: Sequence[str] = (),
) -> View:
    """Return the view of GPUs, models (each left out if empty), and their KV cache and step times together."""
    catalogue = [*([_gpus(cards)] if cards else []), *([_models(models)] if models else [])]
    blocks = [*catalogue, _machines(machines, context_tokens)]
    return View("Hardware", blocks, [Note(note) for note in notes])


def _gpus(cards: Sequence[GpuSpec]) -> Table:
    from continuum_sim.hardware.gpus import GIB
    from continuum_sim.hardware.links import find_link
    from continuum_sim.steptime.aiconfigurator import SYSTEMS

    columns = [name("--gpu"), words("interconnect"), words("aiconfigurator")]
    rows = [
        [
            card.name,
            find_link(card.link).label,
            SYSTEMS.get(card.name, "–"),
            f"{card.memory_bytes / GIB:.1f}",
            f"{card.memory_bandwidth_bytes_per_s / 1e12:.2f}",
            f"{card.bf16_dense_flops / 1e12:,.0f}",
        ]
        for card in cards
    ]
    return Table([*columns, *numbers("memory GiB", "TB/s", "bf16 TFLOPS")], rows, "GPUs")


def _models(models: Sequence[ModelSpec]) -> Table:
    from continuum_sim.hardware import kv_bytes_per_token

    rows = [
        [
            model.name,
            f"{model.n_params / 1e9:.1f} G",
            str(model.n_layers),
            f"{kv_bytes_per_token(model) / 1024:,.0f}",
            f"{model.max_model_len:,}",
        ]
        for model in models
    ]
    heads = ("parameters", "layers", "KV KiB a token", "longest context")
    return Table([name("--model"), *numbers(*heads)], rows, "Models")


def _machines(machines: Sequence[Machine], context_tokens: int) -> Table:
    heads = numbers("KV blocks", "KV tokens", "decode 1", "decode 32", "prefill 2,048", "prefill 8,192")
    rows = []
    for item in machines:
        first = [item.model, f"{item.tensor_parallel_size} x {item.gpu}", f"{item.kv_blocks:,}", f"{item.kv_tokens:,}"]
        if not item.step_times:
            rows.append([*first, "none", *["–"] * 4])
        blocks = {"aiconfigurator": item.kv_blocks_aiconfigurator}
        for place, times in enumerate(item.step_times):
            other = blocks.get(times.step_time.partition(":")[0])
            again = ["", "", "" if other is None else f"({other:,})", ""]
            step_s = (times.decode_1_s, times.decode_32_s, times.prefill_2k_s, times.prefill_8k_s)
            rows.append([*(again if place else first), times.step_time, *(f"{1e3 * s:,.1f}" for s in step_s)])
    said = "KV blocks in brackets: aiconfigurator's estimate. A run takes the other, or --kv-blocks, which always wins."
    return Table(
        [name("model"), name("GPUs"), *heads[:2], name("--step-time"), *heads[2:]],
        rows,
        f"Together: KV cache, and milliseconds of a step (turns decoding at a context of {context_tokens:,} tokens)",
        note=said if any(item.kv_blocks_aiconfigurator is not None for item in machines) else "",
    )


def model_view(
    model: ModelSpec,
    served: Sequence[Served],
    unfit: Sequence[Unfit],
    context_tokens: int,
    notes: Sequence[str] = (),
    *,
    splits: bool = False,
) -> View:
    """Return the view of one model on each GPU, or in splits, with what communication costs these."""
    said = [Note(note) for note in notes]
    if unfit:
        told = "; ".join(f"{one.gpu} ({one.reason})" for one in unfit)
        said.insert(0, Note(f"does not fit {told}"))
    table = _in_splits if splits else _served
    return View(model.name, [table(model, served, context_tokens)] if served else [], said)


def _served(model: ModelSpec, served: Sequence[Served], context_tokens: int) -> Table:
    rows = []
    for item in served:
        running, fit = item.decode.tokens, item.requests
        decode = f"decode {running:,}" + (f" of {fit:,}" if fit > running else "")
        first = [f"{item.tensor_parallel_size} x {item.gpu}", _usd(item.usd_per_hour), f"{item.kv_tokens:,}"]
        rows.append([*first, *_step(decode, item.decode)])
        rows.append(["", "", "", *_step(f"prefill {item.prefill.tokens:,}", item.prefill)])
    return Table(
        [name("GPUs"), *numbers("$/hour", "KV tokens"), name("step"), *numbers("ms", "$/M"), words("limited by")],
        rows,
        f"{model.name} ({model.weight_bytes / 1e9:,.1f} GB) on the fewest GPUs that hold it, cheapest decoding first",
        note=f"decode: as many requests as fit at a context of {context_tokens:,} tokens, or as vLLM runs at once. "
        "$/M: dollars per million tokens.",
        groups=True,
    )


def _in_splits(model: ModelSpec, served: Sequence[Served], context_tokens: int) -> Table:
    rows = []
    for item in served:
        decode = f"decode {item.decode.tokens:,}"
        gpus = f"{item.gpus} x {item.gpu}" + (f" {item.split}" if item.split else "")
        ranks = item.kv_tokens_of_all // item.kv_tokens
        kept = f"{item.kv_tokens:,}" + (f" × {ranks}" if ranks > 1 else "")
        rows.append([gpus, _usd(item.usd_per_hour), kept, *_apart(decode, item.decode)])
        rows.append(["", "", "", *_apart(f"prefill {item.prefill.tokens:,}", item.prefill)])
    return Table(
        [
            *(name("split"), *numbers("$/hour", "KV tokens"), name("step")),
            *(*numbers("ms", "between GPUs", "$/M"), words("most for")),
        ],
        rows,
        f"{model.name} ({model.weight_bytes / 1e9:,.1f} GB) in splits, cheapest decoding first",
        note=f"Steps are a rank's. decode: as many requests as fit at a context of {context_tokens:,} tokens, or as "
        "vLLM runs at once, in a batch for each stage. ms: through all stages, and of these between GPUs.",
        groups=True,
    )


def _apart(what: str, step: Step) -> list[str]:
    """Return a step with what communication takes of it."""
    what, whole, usd, limits = _step(what, step)
    between = "–"
    if step.communication_s is not None:
        between = f"{1e3 * step.communication_s:,.1f} ({100 * step.communication_s / step.step_s:.0f} %)"
    return [what, whole, between, usd, limits.partition(",")[0]]


def _step(what: str, step: Step) -> list[str]:
    limits = ", ".join(
        f"{_WORK[share.name]}{_LIMIT[share.limit]} {100 * share.step_share:.0f} %" for share in step.shares[:_NAMED]
    )
    return [what, f"{1e3 * step.step_s:,.1f}", _usd(step.usd_per_million_tokens), limits or "–"]


def _usd(usd: float | None) -> str:
    return "–" if usd is None else f"{usd:,.2f}"
