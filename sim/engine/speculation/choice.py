"""Whether an engine drafts."""

from __future__ import annotations

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.speculation.decoding import SpeculativeDecoding


def make_decoding(config: EngineConfig) -> SpeculativeDecoding | None:
    """Return the decoding turns of an engine with speculative decoding; None without."""
    if config.speculation is None:
        return None
    budget, cuts = config.max_num_batched_tokens, config.long_prefill_token_threshold > 0
    return SpeculativeDecoding(config.block_size, config.speculation, config.max_model_len, budget, cuts=cuts)
