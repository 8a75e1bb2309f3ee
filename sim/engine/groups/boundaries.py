"""Where steps must end in a prompt, so that states of recurrent layers can be found again."""

from __future__ import annotations

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import last_reusable
from continuum_sim.engine.request import Request


class BlockBoundaries:
    """Cuts prompts at block boundaries (`Scheduler._mamba_block_aligned_split`, mode `align` without partial hits).

    A block holds the state after its last token, which is there only if a step ended with that token.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._size = config.block_size
        most = config.max_num_batched_tokens
        threshold = config.long_prefill_token_threshold
        self._most_tokens = min(most, threshold) if threshold else most
        recurrent = [group for group in config.kv_cache_groups if group.kind == "recurrent"]
        self._saves = recurrent[0] if all(group.checkpoints for group in recurrent) else None
        """A group that saves states inside a step, if all do."""
        speculation = config.drafting
        self._steps_back = speculation is not None and speculation.drops_last_hit(config.vllm_version)
        """Whether the last block of a hit is computed again, so that the state before it is needed."""

    def cut(self, request: Request, start: int, tokens: int, junction_tokens: int) -> int:
        """Return how many of the next `tokens` tokens from `start` on a step may compute, 0 if none.

        Parameters
        ----------
        junction_tokens
            Where a later prompt may leave this one, if the state there is not cached yet; otherwise 0.
        """
        size, end = self._size, start + tokens
        prefill_end = max(request.prompt_tokens, request.num_tokens - 1)
        if start >= prefill_end:
            return tokens
        saves = self._saves is not None and end >= prefill_end
        if saves and self._saves is not None:
            saves = self._saves.can_save(start, end, last_reusable(prefill_end, size, steps_back=self._steps_back))
        if end < prefill_end:
            aligned = end // size * size
            if aligned > start or size <= self._most_tokens:  # else a block takes several steps
                end = aligned
        stops = []
        if not saves:
            if start % size:
                stops.append((start // size + 1) * size)
            stops.append(last_reusable(request.num_tokens, size, steps_back=self._steps_back))
        if start < junction_tokens < end:
            stops.append(start + (junction_tokens - start) // size * size)
        return max(0, min([stop for stop in stops if start < stop < end], default=end) - start)
