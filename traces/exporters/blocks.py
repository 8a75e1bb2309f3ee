"""Block hashes for prompts whose lengths alone are known."""

from __future__ import annotations

from itertools import count

from continuum_sim.traces.schema import Program


class BlockIds:
    """Makes up hash ids that are equal exactly where prompts are equal.

    Parameters
    ----------
    block_size
        Tokens per block.
    whole_only
        True if a last, partial block gets no id (kv-cache-tester), False if it gets one (Mooncake).
    """

    def __init__(self, block_size: int, *, whole_only: bool) -> None:
        self.block_size = block_size
        self._whole_only = whole_only
        self._fresh = count(1)
        self._shared: dict[str, list[int]] = {}

    def of(self, program: Program) -> list[list[int]]:
        """Return the ids of every turn's prompt.

        A prompt keeps the ids of the whole blocks that it keeps of the previous prompt, and continues with new ones. If
        `kept_tokens` ends inside a block, that block is new: sharing is rounded down, never up.
        """
        prompts: list[list[int]] = []
        blocks = self._of_prefix(program)
        for turn in program.turns:
            del blocks[turn.kept_tokens // self.block_size if prompts else len(blocks) :]
            size = turn.input_tokens // self.block_size
            if not self._whole_only:
                size = -(-turn.input_tokens // self.block_size)
            blocks = blocks[:size]
            blocks += [next(self._fresh) for _ in range(len(blocks), size)]
            prompts.append(list(blocks))
        return prompts

    def _of_prefix(self, program: Program) -> list[int]:
        prefix = program.shared_prefix
        if prefix is None:
            return []
        known = self._shared.setdefault(prefix.id, [])
        size = prefix.tokens // self.block_size
        known += [next(self._fresh) for _ in range(len(known), size)]
        return known[:size]
