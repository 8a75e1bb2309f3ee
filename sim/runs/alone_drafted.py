"""The JCT of a program that has an engine with speculative decoding to itself."""

from __future__ import annotations

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.speculation.forecast import steps_s
from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import STOP, Program
from continuum_sim.world.drafts import DraftDraws


def lone_drafted_jct_s(program: Program, engine: EngineConfig, step_time: StepTime, draws: DraftDraws) -> float:
    """Return the JCT in seconds of a lone program without sub-agents, with the drafts it has in a run.

    It is the simulator's, up to rounding: see `lone_jct_s`. Contexts must have room for all drafts
    (`has_room_for_drafts`).
    """
    speculation = engine.drafting
    assert speculation is not None
    size, rows = engine.block_size, 1 + speculation.num_speculative_tokens
    hashed_ahead = speculation.hash_lookahead_tokens(engine.vllm_version)
    late = engine.vllm_version == "0.32" and not engine.async_scheduling
    budget = engine.max_num_batched_tokens - speculation.draft_slots
    now_s, free_s, found = 0.0, 0.0, 0
    for number, turn in enumerate(program.turns):
        now_s = max(now_s, free_s)
        tokens = turn.input_tokens
        kept = max(0, turn.kept_tokens - hashed_ahead) if number and engine.enable_prefix_caching else 0
        hits = min(kept, found, tokens - 1) // size
        if hits and speculation.drops_last_hit(engine.vllm_version):
            hits -= 1
        start = hits * size
        padding = rows - 1 if start == tokens - 1 and start else 0
        while start < tokens:
            chunk = min(tokens - start, budget)
            now_s += step_time.run_s(prefill_of(chunk, start)._replace(decode_requests=padding), 1)
            start += chunk
        known_at_last, left = tokens, turn.output_tokens - 1
        if left:
            accepted = draws.of_turn(program.program_id, number, 0, speculation, turn.mean_acceptance_length).accepted
            steps = accepted.steps_for(left)
            # Tokens known before each step, and where it begins: behind those, or behind the step under way.
            before = tokens + 1 + np.concatenate(([0], np.cumsum(accepted.coming(steps) + 1)))
            if engine.async_scheduling:
                computed = np.concatenate(
                    ([tokens + padding], before[: steps - 1] + rows - 1, [before[steps - 1] + rows - 1])
                )
            else:
                computed = before[:steps] - 1
            known_at_last = int(before[steps - 1])
            batch = StepBatch(0, 0, 0, 0, rows, 0)
            now_s += float(np.sum(steps_s(step_time, batch, computed[:steps] + rows)))
            in_vain = before[steps - 1] + 1 < turn.context_tokens or turn.finish == STOP
            if engine.async_scheduling and in_vain:
                vain = StepBatch(0, 0, 0, 0, rows, int(before[steps - 1]) + 2 * rows - 1)
                free_s = now_s + step_time.run_s(vain, 1)
        elif engine.async_scheduling and turn.finish == STOP:
            free_s = now_s + step_time.run_s(StepBatch(0, 0, 0, 0, rows, tokens + padding + rows), 1)
        end = turn.context_tokens
        found = min(known_at_last if late else end - 1, end - max(1, hashed_ahead))
        if number < len(program.turns) - 1:
            now_s += turn.tool_s
    return now_s


def has_room_for_drafts(program: Program, engine: EngineConfig) -> bool:
    """Return whether every step of a lone program verifies all its drafts."""
    speculation = engine.drafting
    assert speculation is not None
    rows, most = 1 + speculation.num_speculative_tokens, program.max_context_tokens
    if rows + speculation.draft_slots > engine.max_num_batched_tokens or most + 2 * rows > engine.max_model_len:
        return False
    return engine.blocks_of(most) <= engine.usable_blocks
