"""What is simulated, in two lines: the load and the engine."""

from __future__ import annotations

from rich.text import Text

from continuum_sim.resolve import ResolvedRun


def setting_view(run: ResolvedRun, seeds: str) -> Text:
    """Say which trace, arrivals and engine these are, defaults included."""
    trace, engine = run.trace, run.engine
    gpus = (
        run.gpu.name if run.config.tensor_parallel_size == 1 else f"{run.config.tensor_parallel_size} × {run.gpu.name}"
    )
    chosen = "" if run.config.arrivals is not None else " (default)"
    return Text(
        f"{trace.name}: {trace.programs:,} programs, {trace.turns:,} turns; "
        f"arrivals {run.arrivals_spec}{chosen}, {seeds}\n"
        f"{run.model.name} on {gpus}: {engine.num_gpu_blocks:,} KV blocks of {engine.block_size} tokens, "
        f"max_num_batched_tokens {engine.max_num_batched_tokens}, max_num_seqs {engine.max_num_seqs}, "
        f"step times {_step_time(run)}\n"
    )


def _step_time(run: ResolvedRun) -> str:
    spec = run.config.step_time
    return spec if isinstance(spec, str) else type(spec).__name__
