"""Whether an engine can serve a program at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from continuum_sim.engine.config import EngineConfig
from continuum_sim.errors import ConfigError
from continuum_sim.traces.schema import Program


def check_fits(program: Program, *engines: EngineConfig) -> None:
    """Refuse a program that no schedule can serve: one that fits none of these engines; sub-agents count by themselves.

    Raises
    ------
    ConfigError
        Naming the program, what it needs and what there is.
    """
    tokens = program.max_context_tokens
    able = [config for config in engines if fits(tokens, config)]
    for config in able or engines:
        _check_tiers(program, config)
    if able:
        return
    long_enough = [config for config in engines if tokens <= config.max_model_len]
    if not long_enough:
        raise ConfigError(
            f"program {program.program_id!r} needs a context of {tokens} tokens, above max_model_len "
            f"{max(config.max_model_len for config in engines)}; raise --max-model-len or shorten the trace with "
            "--max-turns"
        )
    roomiest = max(long_enough, key=lambda config: config.usable_blocks * config.block_size)
    where = "the engine has" if len(engines) == 1 else f"the roomiest of {len(engines)} replicas has"
    raise ConfigError(
        f"program {program.program_id!r} needs {_blocks(tokens, roomiest)} KV blocks of {roomiest.block_size} tokens, "
        f"but {where} {roomiest.usable_blocks} usable; give it more memory or shorten the trace with --max-turns"
    )


def fits(tokens: int, config: EngineConfig) -> bool:
    """Whether an engine can hold a context of so many tokens, the last of which was just sampled."""
    return tokens <= config.max_model_len and _blocks(tokens, config) <= config.usable_blocks


def fitting(tokens: int, engines: Sequence[EngineConfig]) -> list[int]:
    """Places of the engines that can hold a context of so many tokens."""
    return [at for at, config in enumerate(engines) if fits(tokens, config)]


def _blocks(tokens: int, config: EngineConfig) -> int:
    return -(-(tokens - 1) // config.block_size)  # the last sampled token has no KV


def _check_tiers(program: Program, config: EngineConfig) -> None:
    """Refuse memory tiers of an engine that cannot hold one context."""
    if config.tiers is None:
        return
    blocks = _blocks(program.max_context_tokens, config)
    for name, room in (("dram", config.tiers.dram_blocks), ("ssd", config.tiers.ssd_blocks)):
        if 0 < room < blocks:
            least_gb = math.ceil(blocks * config.tiers.block_bytes / 1e7) / 100
            raise ConfigError(
                f"program {program.program_id!r} needs {blocks} KV blocks, but the {name} tier holds {room}; give "
                f"--{name}-gb {least_gb:g} or more, or leave the tier out"
            )
