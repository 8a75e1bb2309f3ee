"""Find the earlier request that a prompt continues, from the hashes of its blocks alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final

import msgspec

MOST_OPEN: Final = 50_000
"""How many of the latest requests can be continued. Bounds the memory."""


class End(msgspec.Struct, gc=False):
    """The full blocks at the end of a request's prompt, and whether a later request may continue it.

    Attributes
    ----------
    chain
        Number of the conversation it belongs to.
    blocks, digest
        Number of full blocks of the prompt, and a hash of all their hashes.
    last_id
        Hash of the last block, full or not.
    input_tokens
        Length of the prompt.
    at_s
        When it was sent.
    only_prefix
        True while nothing shows that these blocks are this conversation's own: it is the first of its family.
    next_number
        Row that continued it.
    common
        True if several conversations share these blocks, so that continuing them tells nothing.
    """

    chain: int
    blocks: int
    digest: int
    last_id: int
    input_tokens: int
    at_s: float
    only_prefix: bool
    next_number: int | None = None
    common: bool = False


@dataclass(slots=True)
class PrefixChains:
    """Unnamed conversations: a prompt that holds all full blocks of an earlier one, and more, continues it.

    The longest such prompt counts, and the latest of equally long ones. A prompt whose full blocks are only what
    several conversations begin with (a system prompt) cannot be continued: a chain begins where a prompt has a block
    that the first of its family lacks. For the first prompt itself this is unknown until a second, different prompt
    continues it; the row that continued it before is then cut off again (`cuts`).

    Attributes
    ----------
    cuts
        Rows assigned to an earlier request that turned out to be a common beginning.
    forks
        Number of prompts that continue one already continued: they begin conversations of their own.
    """

    cuts: set[int] = field(default_factory=set)
    forks: int = 0
    _ends: OrderedDict[int, End] = field(default_factory=OrderedDict)

    def find(self, ids: Sequence[int], full: int, input_tokens: int, at_s: float, number: int) -> End | None:
        """Return the request that this one continues, if there is one, and close it."""
        # The longest first, which is nearly always one of the last few blocks.
        for blocks in compress(range(full, 0, -1), map(self._ends.__contains__, reversed(ids[:full]))):
            end = self._ends[ids[blocks - 1]]
            if end.blocks != blocks or end.digest != digest(ids, blocks):
                continue
            if end.input_tokens == input_tokens and end.last_id == ids[-1]:
                return None  # the same request again
            if end.input_tokens >= input_tokens or end.at_s > at_s:
                continue
            if end.common:
                return None
            if end.next_number is not None:
                if end.only_prefix:
                    self.cuts.add(end.next_number)
                    end.common = True
                else:
                    self.forks += 1
                return None
            end.next_number = number
            return end
        return None

    def add(self, end: End, block: int, *, own: bool) -> None:
        """Allow later requests to continue this one, whose last full block is ``block``.

        If none of its blocks is its ``own``, this applies only if it repeats an earlier request.
        """
        there = before = self._ends.get(block)
        if before is not None and (before.digest, before.blocks) != (end.digest, end.blocks):
            before = None
        if before is None:
            if not own:
                return
        elif before.common or (before.input_tokens, before.last_id) != (end.input_tokens, end.last_id):
            # Other requests end with the same full blocks, so these are a common beginning.
            if before.only_prefix and before.next_number is not None:
                self.cuts.add(before.next_number)
            before.common = True
            end = before
        else:
            end.only_prefix = before.only_prefix
        self._ends[block] = end
        if there is not None:
            self._ends.move_to_end(block)
        elif len(self._ends) > MOST_OPEN:
            self._ends.popitem(last=False)

    def forget(self) -> None:
        """Free what is needed only while requests are being added."""
        self._ends.clear()


def digest(ids: Sequence[int], blocks: int) -> int:
    """Return a hash of the hashes of the first blocks."""
    return hash(tuple(ids[:blocks]))
