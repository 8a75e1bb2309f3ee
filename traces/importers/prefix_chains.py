"""Which earlier request a prompt goes on from, told by the hashes of its blocks alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final

import msgspec

MOST_OPEN: Final = 50_000
"""Requests that a later one can go on from: the last so many. Bounds the memory."""


class End(msgspec.Struct, gc=False):
    """The full blocks that a request's prompt ends with, and whether a later one may go on from there.

    Attributes
    ----------
    chain
        The number of the conversation it belongs to.
    blocks, digest
        How many full blocks the prompt has, and a hash of all their hashes.
    last_id
        Hash of the last block, full or not.
    input_tokens
        Length of the prompt.
    at_s
        When it was sent.
    only_prefix
        Whether nothing shows yet that these blocks are this conversation's own: it is the first of its family.
    next_number
        Row that went on from it.
    common
        Whether several conversations have these blocks in common: then going on from here tells nothing.
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
    """Conversations without a name: a prompt that holds all full blocks of an earlier one, and more, goes on from it.

    Of several the longest counts, and of those the latest. A prompt whose full blocks are nothing but what several
    conversations begin with (a system prompt) is nobody's to go on from: a chain begins where a prompt has a block that
    the first of its family has not. Of the first one itself nothing is known at first; as soon as a second prompt goes
    on from it otherwise, the one that did so before is cut off again (`cuts`).

    Attributes
    ----------
    cuts
        Rows that were taken to go on from another one, which turned out to be a common beginning.
    forks
        How many prompts went on from one that another had gone on from: they begin conversations of their own.
    """

    cuts: set[int] = field(default_factory=set)
    forks: int = 0
    _ends: OrderedDict[int, End] = field(default_factory=OrderedDict)

    def find(self, ids: Sequence[int], full: int, input_tokens: int, at_s: float, number: int) -> End | None:
        """Return the request that this one goes on from, if there is one, and close it."""
        # The longest first; that is nearly always one of the last few blocks.
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
        """Let later requests go on from this one, whose last full block is ``block``.

        Where no block of it is its ``own``, that holds only if it is a request that came before once more.
        """
        there = before = self._ends.get(block)
        if before is not None and (before.digest, before.blocks) != (end.digest, end.blocks):
            before = None
        if before is None:
            if not own:
                return
        elif before.common or (before.input_tokens, before.last_id) != (end.input_tokens, end.last_id):
            # Other requests end with the same full blocks: these are what they all begin with.
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
        """Let go of what is needed only while requests come."""
        self._ends.clear()


def digest(ids: Sequence[int], blocks: int) -> int:
    """Return a hash of the hashes of the first blocks."""
    return hash(tuple(ids[:blocks]))
