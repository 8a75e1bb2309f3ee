"""Whether an engine can serve a program at all, and the remedy if none can."""

from __future__ import annotations

import math
from collections.abc import Sequence

from continuum_sim.engine.config import EngineConfig
from continuum_sim.errors import ConfigError
from continuum_sim.traces.schema import Program


class UnfitError(ConfigError):
    """Raised for a program with a context that no engine can hold."""


def check_fits(program: Program, *engines: EngineConfig) -> None:
    """Refuse a program that fits none of these engines, so that no schedule can serve it; sub-agents count separately.

    Raises
    ------
    UnfitError
        Naming the program, what it needs, what there is, and its first turn that does not fit.
    ConfigError
        If a memory tier cannot hold its context.
    """
    most_tokens = program.max_context_tokens
    able = [config for config in engines if fits(most_tokens, config)]
    for config in able or engines:
        _check_tiers(program, config)
    if able:
        return
    at = next(n for n, turn in enumerate(program.turns) if turn.context_tokens > longest_context(engines))
    begin, end = f"program {program.program_id!r} needs", f": too long from turns[{at}] on"
    long_enough = [config for config in engines if most_tokens <= config.max_model_len]
    if not long_enough:
        longest = max(config.max_model_len for config in engines)
        raise UnfitError(f"{begin} a context of {most_tokens} tokens, above max_model_len {longest}{end}")
    roomiest = max(long_enough, key=lambda config: config.usable_blocks * config.block_size)
    where = "the engine has" if len(engines) == 1 else f"the roomiest of {len(engines)} replicas has"
    raise UnfitError(
        f"{begin} {_blocks(most_tokens, roomiest)} KV blocks of {roomiest.block_size} tokens, but {where} "
        f"{roomiest.usable_blocks} usable{end}"
    )


def remedies(tokens: int, engines: Sequence[EngineConfig], *, model: str, model_len: int, kv_blocks: bool) -> str:
    """Return the remedies, as text, if no engine can hold a trace's longest context of `tokens` tokens.

    They name nothing that vLLM would refuse.

    Parameters
    ----------
    model, model_len
        Name of the model, and the longest context it accepts.
    kv_blocks
        Whether the number of KV blocks was given instead of computed from a GPU's memory.
    """
    found = []
    if tokens > model_len:
        longer = f"take a model of longer contexts ({model} ends at {model_len}, the longest here has {tokens})"
    else:
        needed = min(config.blocks_of(tokens) - config.usable_blocks for config in engines)
        if tokens > max(config.max_model_len for config in engines):
            found.append(f"--max-model-len {tokens}")
        if needed > 0:
            blocks = min(config.blocks_of(tokens) + 1 for config in engines)
            more = f"--kv-blocks {blocks}" if kv_blocks else f"KV memory for {blocks} blocks (more GPUs or larger ones)"
            found.append(more)
        longer = f"give {' and '.join(found)}"
    return f"{longer}, cut what is too long with --truncate-unfit, or leave such programs out with --drop-unfit"


def fits(tokens: int, config: EngineConfig) -> bool:
    """Return True if an engine can hold a context of `tokens` tokens, the last of which was just sampled."""
    return tokens <= config.max_model_len and _blocks(tokens, config) <= config.usable_blocks


def fitting(tokens: int, engines: Sequence[EngineConfig]) -> list[int]:
    """Return the indices of the engines that can hold a context of `tokens` tokens."""
    return [at for at, config in enumerate(engines) if fits(tokens, config)]


def longest_context(engines: Sequence[EngineConfig]) -> int:
    """Return the longest context, in tokens, that any of the engines can hold."""
    return max(min(config.max_model_len, config.most_tokens + 1) for config in engines)


def _blocks(tokens: int, config: EngineConfig) -> int:
    return config.blocks_of(tokens - 1)  # the last sampled token has no KV


def _check_tiers(program: Program, config: EngineConfig) -> None:
    """Refuse memory tiers of an engine that cannot hold one context."""
    if config.tiers is None or config.tiers.native:
        return
    blocks = _blocks(program.max_context_tokens, config)
    for name, room in (("dram", config.tiers.dram_blocks), ("ssd", config.tiers.ssd_blocks)):
        if 0 < room < blocks:
            least_gb = math.ceil(blocks * config.tiers.block_bytes / 1e7) / 100
            raise ConfigError(
                f"program {program.program_id!r} needs {blocks} KV blocks, but the {name} tier holds {room}; give "
                f"--{name}-gb {least_gb:g} or more, or leave the tier out"
            )
