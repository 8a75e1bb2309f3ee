"""What the page says, before it is laid out: titles, tables, bars, configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from msgspec import UnsetType
from msgspec.structs import asdict

from continuum_sim.results.numbers import count, percent, seconds
from continuum_sim.results.summary import Quantiles, Summary

_COLOURS: Final = {"queue": "queued", "prefill": "prefill", "decode": "decode", "tool": "tool", "reload": "cached"}
"""Part of the JCT to its colour in the style sheet; parts that are rare have none of their own."""
ALWAYS: Final = ("queue", "prefill", "decode", "tool")
"""Parts that are named even if they are nothing."""
_STAMP: Final = ("created_at", "command", "versions", "platform", "wall_s", "policies", "seeds", "baseline", "runs")
"""Keys of a manifest that are no configuration."""

Fact = tuple[str, str]


class Grid(NamedTuple):
    """A table: what its columns are, and its rows, whose first cell names them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: int = -1
    """Row to bring out."""
    note: str = ""


class Part(NamedTuple):
    """A piece of a bar."""

    name: str
    colour: str
    share: float
    text: str


class Bar(NamedTuple):
    """A whole and its parts."""

    title: str
    parts: Sequence[Part]
    length: float = 1.0
    """As a share of the longest bar beside it."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything but pictures and timelines."""

    title: str
    subtitle: str
    notes: Sequence[str]
    grids: Sequence[Grid]
    bars: Sequence[Bar]
    facts: Sequence[Fact] = ()
    command: str
    """Empty if there was none."""
    versions: Sequence[Fact]
    configuration: Sequence[tuple[str, Sequence[Fact]]]


def run_page(summary: Summary, manifest: Mapping[str, Any]) -> Page:
    """Lay out the page of one run."""
    return Page(
        title=f"{summary.policy} on {summary.trace}",
        subtitle=f"arrivals {summary.arrivals}, seed {summary.seed}; "
        f"{summary.programs:,} programs, {summary.turns:,} turns; {_engine_line(manifest)}",
        notes=summary.notes,
        grids=[_quantiles(summary), *_replicas(summary)],
        bars=[time_bar("Where the time of a program goes", asdict(summary.time_s))],
        facts=list(_facts(summary)),
        command=command_line(manifest),
        versions=made_by(manifest),
        configuration=configuration(manifest),
    )


def time_bar(title: str, time_s: Mapping[str, float], length: float = 1.0) -> Bar:
    """Draw a mean JCT as its parts."""
    total_s = sum(time_s.values())
    parts = []
    for part, part_s in time_s.items():
        if part_s or part in ALWAYS:
            share = part_s / total_s if total_s else 0.0
            name, colour = part.replace("_", " "), _COLOURS.get(part, "pinned")
            parts.append(Part(name, colour, share, f"{seconds(part_s)} s ({percent(share)})"))
    return Bar(title, parts, length)


def command_line(manifest: Mapping[str, Any]) -> str:
    """Return the command as one would type it."""
    return shlex.join(manifest.get("command") or ())


def made_by(manifest: Mapping[str, Any]) -> list[Fact]:
    """Say when, where and by which versions."""
    versions = manifest.get("versions", {})
    return [
        ("made", f"{manifest.get('created_at', '')}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
        ("platform", f"{manifest.get('platform', '')}"),
    ]


def configuration(manifest: Mapping[str, Any]) -> list[tuple[str, Sequence[Fact]]]:
    """Arrange a manifest as tables: settings without parts first, then each setting with parts."""
    settings = {name: value for name, value in manifest.items() if name not in _STAMP}
    plain = [(name, _shown(value)) for name, value in settings.items() if not isinstance(value, Mapping)]
    nested = [(name, list(_flat(value))) for name, value in settings.items() if isinstance(value, Mapping)]
    return [("run", plain), *nested] if settings else []


def _quantiles(summary: Summary) -> Grid:
    samples = {
        "JCT (a program)": summary.jct_s,
        "queue wait (a turn)": summary.queue_wait_s,
        "TTFT (a turn)": summary.ttft_s,
    }
    names = Quantiles.__struct_fields__
    rows = [(label, *(seconds(getattr(sample, name)) for name in names)) for label, sample in samples.items()]
    return Grid("Seconds", ("", *names), rows)


def _replicas(summary: Summary) -> Iterator[Grid]:
    """What each engine of a cluster did."""
    if isinstance(summary.replicas, UnsetType):
        return
    rows = [
        (
            f"{part.replica} ({part.gpu})",
            *map(count, (part.turns, part.moved_in)),
            f"{seconds(part.busy_s)} s",
            *map(count, (part.prompt_tokens, part.cached_tokens, part.recomputed_tokens, part.preemptions)),
            percent(part.peak_used_share),
            *map(count, (part.pins.made, part.pins.hit, part.pins_moved)),
        )
        for part in summary.replicas
    ]
    columns = ("replica", "turns", "moved in", "busy", "prompt tokens", "cached", "recomputed", "preemptions", "peak")
    title = f"Replicas, router {summary.router}"
    yield Grid(title, (*columns, "pins", "hit", "moved"), rows)


def _facts(s: Summary) -> Iterator[Fact]:
    prompts = s.prefill.computed_tokens + s.prefill.cached_tokens
    yield (
        "prefill",
        f"{count(s.prefill.computed_tokens)} prompt tokens computed, {count(s.prefill.recomputed_tokens)} of them "
        f"again; {count(s.prefill.cached_tokens)} from cache ({percent(s.prefill.cached_tokens / max(1, prompts))})",
    )
    yield (
        "KV cache",
        f"{percent(s.kv.peak_used_share)} of {s.kv.blocks:,} blocks of {s.kv.block_size} tokens in use at the peak; "
        f"{s.preemptions:,} preemptions",
    )
    yield (
        "pins",
        f"{s.pins.made:,} made: {s.pins.hit:,} hit, {s.pins.expired:,} expired, {s.pins.broken:,} broken; "
        f"{count(s.kv.pinned_block_seconds)} block·s held",
    )
    activity = s.policy_activity
    yield "policy", f"{activity.evictions:,} evictions, {activity.reorders:,} reorders, {activity.holds:,} holds"
    yield (
        "throughput",
        f"{3600 * s.throughput.programs_per_s:,.1f} programs/h, "
        f"{s.throughput.output_tokens_per_s:,.0f} output tokens/s over {seconds(s.sim_s)} s; "
        f"engine{'s' if s.replicas else ''} busy {percent(_busy_share(s))} of it",
    )
    yield "simulated in", f"{seconds(s.wall_s)} s, {count(s.steps)} engine steps"


def _busy_share(s: Summary) -> float:
    engines = 1 if isinstance(s.replicas, UnsetType) else len(s.replicas)
    return s.busy_s / s.sim_s / engines if s.sim_s else 0.0


def _engine_line(manifest: Mapping[str, Any]) -> str:
    model, gpu = manifest.get("model", {}).get("name", "?"), manifest.get("gpu", {}).get("name", "?")
    gpus = manifest.get("tensor_parallel_size", 1)
    return f"{model} on {gpu if gpus == 1 else f'{gpus} × {gpu}'}"


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[Fact]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{above}{name}.")
        else:
            yield f"{above}{name}", _shown(item)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return str(value)
