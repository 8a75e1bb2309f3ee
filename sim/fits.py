"""Whether an engine can serve a program at all."""

from __future__ import annotations

from continuum_sim.engine.config import EngineConfig
from continuum_sim.errors import ConfigError
from continuum_sim.traces.schema import Program


def check_fits(program: Program, config: EngineConfig) -> None:
    """Refuse a program that no schedule can serve.

    Raises
    ------
    ConfigError
        Naming the program, what it needs and what there is.
    """
    tokens = program.max_context_tokens
    if tokens > config.max_model_len:
        raise ConfigError(
            f"program {program.program_id!r} needs a context of {tokens} tokens, above max_model_len "
            f"{config.max_model_len}; raise --max-model-len or shorten the trace with --max-turns"
        )
    blocks = -(-(tokens - 1) // config.block_size)  # the last sampled token has no KV
    if blocks > config.usable_blocks:
        raise ConfigError(
            f"program {program.program_id!r} needs {blocks} KV blocks of {config.block_size} tokens, but the "
            f"engine has {config.usable_blocks} usable; give it more memory or shorten the trace with --max-turns"
        )
