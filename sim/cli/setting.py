"""What is simulated, in two lines: the load and the engine."""

from __future__ import annotations

from rich.text import Text

from continuum_sim.resolve import ResolvedRun


def setting_view(run: ResolvedRun, seeds: str) -> Text:
    """Say which trace, arrivals and engine these are, defaults included."""
    trace = run.trace
    children = f"{trace.children:,} sub-agents, " if trace.children else ""
    chosen = "" if run.config.arrivals is not None else " (default)"
    return Text(
        f"{trace.name}: {trace.programs:,} programs, {children}{trace.turns:,} turns; "
        f"arrivals {run.arrivals_spec}{chosen}, {seeds}\n"
        f"{_engines(run)}"
    )


def _engines(run: ResolvedRun) -> str:
    """One line for each kind of engine."""
    kinds = {replica.gpu.name: replica for replica in run.replicas}
    degree = run.config.tensor_parallel_size
    lines = []
    for name, replica in kinds.items():
        engine = replica.engine
        gpus = name if degree == 1 else f"{degree} × {name}"
        if len(run.replicas) > 1:
            number = sum(r.gpu.name == name for r in run.replicas)
            gpus = f"{number} replica{'s' if number > 1 else ''} of {gpus}"
        lines.append(
            f"{run.model.name} on {gpus}: {engine.num_gpu_blocks:,} KV blocks of {engine.block_size} tokens, "
            f"max_num_batched_tokens {engine.max_num_batched_tokens}, max_num_seqs {engine.max_num_seqs}, "
            f"step times {_step_time(run)}\n"
        )
    return "".join(lines) + _tiers(run)


def _tiers(run: ResolvedRun) -> str:
    tiers, config = run.engine.tiers, run.config
    if tiers is None:
        return ""
    each = "" if len(run.replicas) == 1 else "each with "
    ssd = f", SSD {tiers.ssd_blocks:,} blocks at {config.ssd_gbps:g} GB/s" if tiers.ssd_blocks else ""
    return f"{each}DRAM {tiers.dram_blocks:,} blocks at {config.dram_gbps:g} GB/s{ssd}, reload {tiers.reload}\n"


def _step_time(run: ResolvedRun) -> str:
    spec = run.config.step_time
    return spec if isinstance(spec, str) else type(spec).__name__
