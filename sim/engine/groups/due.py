"""Which decoding turns take or free blocks in a step: each does so once per block, at a residue of the step counter."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.request import Request

_SETTLING = 2
"""Steps until what is in flight of a turn is one token: the first one is planned beside the end of its prompt."""


class DueTurns:
    """The decoding turns of a batch by the steps in which they need the block manager's attention."""

    def __init__(self, specs: Sequence[GroupSpec], alignment_tokens: int, *, ahead: bool, fills: bool = False) -> None:
        """Start empty.

        Parameters
        ----------
        alignment_tokens
            What a hit is a multiple of.
        ahead
            Whether each step is planned while the one before it runs.
        fills
            Whether a turn needs attention when it fills a block, too.
        """
        self._ahead = ahead
        in_flight = 1 if ahead else 0
        phases = {(spec.block_size, 0) for spec in specs}
        if fills or any(spec.block_size != alignment_tokens for spec in specs):
            phases.add((alignment_tokens, (in_flight - 1) % alignment_tokens))
        for spec in specs:
            if spec.reach:
                phases.add((spec.block_size, (in_flight + spec.reach - 1) % spec.block_size))
            elif spec.kind == "chunked":
                phases.add((spec.window, in_flight % spec.window))
        self._phases = sorted(phases)
        """(modulus, residue) of a turn's computed tokens when it takes or frees blocks, or some become findable."""
        self._entering = {spec.block_size: [0] * spec.block_size for spec in specs}
        """By block size and residue of the step counter: turns that enter a new block in the next step."""
        self._sizes = [spec.block_size for spec in specs]
        self._turns: dict[tuple[int, int], dict[Request, None]] = {}
        """Turns by (modulus, residue) of the step counter."""
        self._settling: dict[Request, int] = {}

    def add(self, request: Request, offset: int) -> None:
        """Add a turn whose computed tokens are the step counter plus `offset`."""
        self._settling[request] = _SETTLING
        for modulus, residue in self._phases:
            self._turns.setdefault((modulus, (residue - offset) % modulus), {})[request] = None
        for size, turns in self._entering.items():
            turns[-offset % size] += 1

    def remove(self, request: Request, offset: int) -> None:
        """Remove a turn."""
        self._settling.pop(request, None)
        for modulus, residue in self._phases:
            key = (modulus, (residue - offset) % modulus)
            turns = self._turns[key]
            del turns[request]
            if not turns:
                del self._turns[key]
        for size, entering in self._entering.items():
            entering[-offset % size] -= 1

    @property
    def settled(self) -> bool:
        """Whether every turn has one token in flight at most."""
        return not self._settling

    def settle(self) -> None:
        """Count a step that was planned."""
        self._settling = {request: left - 1 for request, left in self._settling.items() if left > 1}

    def now(self, counter: int, *, in_flight: bool) -> list[Request]:
        """Return the turns that may take or free blocks in the next step, in order of admission.

        Parameters
        ----------
        in_flight
            Whether the step before it is not over. If steps are planned ahead and it is, as one step planned nothing,
            each turn may free earlier than it is expected to.
        """
        due = dict(self._settling)
        if self._ahead and not in_flight:
            for turns in self._turns.values():
                due.update(dict.fromkeys(turns, 0))
        for modulus in {modulus for modulus, _ in self._phases}:
            found = self._turns.get((modulus, counter % modulus))
            if found:
                due.update(dict.fromkeys(found, 0))
        return sorted(due, key=_rank)

    def within(self, counter: int, steps: int) -> list[tuple[int, Request]]:
        """Return (step from 0, turn) for the next `steps` steps, in the order in which vLLM sees them."""
        found = [
            (step, request.rank, request)
            for (modulus, residue), turns in self._turns.items()
            for step in range((residue - counter) % modulus, steps, modulus)
            for request in turns
        ]
        found.sort(key=itemgetter(0, 1))
        due: list[tuple[int, Request]] = []
        for step, _, request in found:
            if not due or due[-1] != (step, request):  # else it takes and frees in the same step
                due.append((step, request))
        return due

    def blocks(self, counter: int, steps: int) -> int:
        """Return the blocks that all turns together take in the next `steps` steps, whatever they free meanwhile."""
        blocks = 0
        for size, entering in self._entering.items():
            taken = sum(entering) * (steps // size)
            taken += sum([entering[(counter + step) % size] for step in range(steps % size)])
            blocks += taken * self._sizes.count(size)
        return blocks


def _rank(request: Request) -> int:
    return request.rank
