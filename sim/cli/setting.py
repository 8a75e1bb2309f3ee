"""The simulated load and engine, in two lines."""

from __future__ import annotations

from rich.text import Text

from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.hardware.splits import gpus_text
from continuum_sim.results.view.run import load_line
from continuum_sim.setup.resolve import ResolvedRun


def setting_view(run: ResolvedRun, seeds: str) -> Text:
    """Return trace, arrivals and engine of a run as text, with defaults filled in."""
    trace = run.trace
    arrivals = run.arrivals_spec if run.config.arrivals is not None else f"{run.arrivals_spec} (default)"
    load = load_line(trace.name, trace.programs, trace.children, trace.turns, arrivals, seeds)
    return Text(f"{load}\n{_engines(run)}")


def _engines(run: ResolvedRun) -> str:
    """Return one line per kind of engine, and one for its memory tiers."""
    kinds = {replica.name: replica for replica in run.replicas}
    mixed = len({replica.engine.tiers for replica in run.replicas}) > 1
    number = 1
    lines = []
    for name, replica in kinds.items():
        engine = replica.engine
        gpus = gpus_text(run.config.parallel, replica.gpu.name)
        if len(run.replicas) > 1:
            number = sum(r.name == name for r in run.replicas)
            gpus = f"{number} replica{'s' if number > 1 else ''} of {gpus}"
        lines.append(
            f"{run.model.name} on {gpus}: {engine.num_gpu_blocks:,} KV blocks of {engine.block_size} tokens, "
            f"max_num_batched_tokens {engine.max_num_batched_tokens}, max_num_seqs {engine.max_num_seqs}, "
            f"step times {_step_time(run)}\n"
        )
        if mixed and engine.tiers is not None:
            lines.append(_tiers(engine.tiers, "each with " if number > 1 else "with "))
    if not mixed and run.engine.tiers is not None:
        lines.append(_tiers(run.engine.tiers, "each with " if len(run.replicas) > 1 else ""))
    return "".join(lines)


def _tiers(tiers: TierConfig, each: str) -> str:
    def part(name: str, blocks: int, block_s: float) -> str:
        return f"{name} {blocks:,} blocks at {tiers.block_bytes / block_s / 1e9:g} GB/s"

    if tiers.native:
        stored = "prompts only" if tiers.offload_prompt_only else "all tokens"
        chunks = f" in chunks of {tiers.blocks_per_chunk} blocks" if tiers.blocks_per_chunk > 1 else ""
        offload = f"native offload of {stored}{chunks}, {tiers.eviction_policy}"
        return f"{each}{part('DRAM', tiers.dram_blocks, tiers.dram_block_s)} each way, {offload}\n"
    ssd = f", {part('SSD', tiers.ssd_blocks, tiers.ssd_block_s)}" if tiers.ssd_blocks else ""
    return f"{each}{part('DRAM', tiers.dram_blocks, tiers.dram_block_s)}{ssd}, reload {tiers.reload}\n"


def _step_time(run: ResolvedRun) -> str:
    spec = run.config.step_time
    return spec if isinstance(spec, str) else type(spec).__name__
