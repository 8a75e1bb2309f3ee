"""What prompts share, where a format names the blocks of every prompt by a hash."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import compress, count
from operator import ne
from typing import Annotated, Any, Final

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.fields import as_array, refuse
from continuum_sim.traces.schema import SharedPrefix

_64_BITS: Final = 2**64 - 1


HashIds = tuple[Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)], ...]
"""Block hashes of a prompt, as msgspec reads nearly all that there are."""


def as_hash_ids(value: Any, place: str, input_tokens: int, block_size: int) -> Sequence[int]:
    """Return the block hashes of a prompt, which are a tuple where msgspec has read them as `HashIds`.

    Raises
    ------
    TraceError
        If they are no integers, or not as many as a prompt of this length has blocks. A last block that is not full
        may be left out (kv-cache-tester leaves it out, Mooncake does not).
    """
    ids: Sequence[int] = value if type(value) is tuple else _checked(as_array(value, place), place)
    if not input_tokens // block_size <= len(ids) <= -(-input_tokens // block_size):
        raise TraceError(
            f"{place} has {len(ids)} blocks for {input_tokens} tokens, expected {-(-input_tokens // block_size)} "
            f"of {block_size} (another size: --block-size)"
        )
    return ids


def _checked(ids: list[Any], place: str) -> list[int]:
    try:
        array("q", ids)  # at the speed of C, for all but a few
    except (TypeError, OverflowError):
        for hash_id in ids:
            if type(hash_id) is not int or not -(2**63) <= hash_id < 2**64:
                refuse(place, hash_id, "an array of integers of 64 bits")
    return ids


def common(before: Sequence[int], now: Sequence[int]) -> int:
    """Return how many leading blocks two prompts have in common."""
    return next(compress(count(), map(ne, before, now)), min(len(before), len(now)))


def kept_tokens(
    before: Sequence[int], before_input: int, before_output: int, now: Sequence[int], now_input: int, block_size: int
) -> int:
    """Return what a prompt keeps of the call before it.

    Hashes cover the prompt of a call and not its output. Where every full block of the earlier prompt is there again,
    the later one went on from it: it keeps the output as well if it is long enough to hold it, else it breaks where
    the output began. Otherwise it keeps the blocks that are equal.
    """
    blocks = common(before, now)
    if blocks >= before_input // block_size and now_input >= before_input:
        context = before_input + before_output
        return context if now_input >= context else before_input
    return min(blocks * block_size, before_input, now_input)


def family_name(first_id: int) -> str:
    """Return what the prefix of prompts that begin with a block is called."""
    return f"block-{first_id}"


class Prefixes:
    """Shared prefixes of first prompts, found as they come.

    Prompts that begin with the same block are one family, and the first of them is what the others are measured
    against: with *x* and *y* blocks in common with it, two prompts have at least min(*x*, *y*) in common with each
    other, which is what a `SharedPrefix` claims. Never too much, though two that share more than with the first
    lose that. Memory grows with the number of families.
    """

    def __init__(self) -> None:
        # A file may have as many families as conversations: four bytes a hash where they are numbered, else eight.
        self._first: dict[int, array[int]] = {}

    def of(self, hash_ids: Sequence[int], input_tokens: int, block_size: int) -> SharedPrefix | None:
        """Return what a first prompt shares with earlier and later ones of its family."""
        full = min(len(hash_ids), input_tokens // block_size)
        return self.join(hash_ids, full, block_size)[0] if full else None

    def join(self, hash_ids: Sequence[int], full: int, block_size: int) -> tuple[SharedPrefix, bool]:
        """Return what a first prompt of ``full`` whole blocks shares, and whether it is the first of its family."""
        try:
            blocks = array("I", hash_ids[:full])
        except OverflowError:
            blocks = array("Q", [hash_id & _64_BITS for hash_id in hash_ids[:full]])
        first = self._first.setdefault(hash_ids[0], blocks)
        shared = len(blocks) if first is blocks else common(first, blocks)
        return SharedPrefix(family_name(hash_ids[0]), shared * block_size), first is blocks

    def forget(self) -> None:
        """Free what is needed only while first prompts come."""
        self._first.clear()
