"""Which decoding turns take or free blocks in a step: each does so once per block, at a residue of the step counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.request import Request


class DueTurns:
    """The decoding turns of a batch by the steps in which they need the block manager's attention."""

    def __init__(
        self,
        specs: Sequence[GroupSpec],
        alignment_tokens: int,
        leaves: Callable[[Request], bool],
        *,
        ahead: bool,
        fills: bool,
    ) -> None:
        """Start empty.

        Parameters
        ----------
        leaves
            Called when a turn is about to be removed; returns whether it slid evenly, and so is counted elsewhere.
        alignment_tokens
            What a hit is a multiple of.
        ahead
            Whether each step is planned while the one before it runs.
        fills
            Whether a turn needs attention when it fills a block, too.
        """
        self._leaves = leaves
        self._ahead = ahead
        self._steps_to_settle = 1 + ahead
        """Steps until what is in flight of a turn is as much as ever: if each is planned while the one before it runs,
        the first is planned beside the end of the turn's prompt."""
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
        self._groups = Counter(spec.block_size for spec in specs)
        """Groups of each block size."""
        self._turns: dict[tuple[int, int], dict[Request, None]] = {}
        """Turns by (modulus, residue) of the step counter."""
        self._settling: dict[Request, int] = {}
        self._unwatched: dict[Request, None] = {}
        """Turns of those in the batch that are not in `_turns` yet: many slide evenly before anybody asks."""

    def add(self, request: Request) -> None:
        """Add a turn, whose computed tokens are the step counter plus its `offset`."""
        self._settling[request] = self._steps_to_settle
        self.watch(request)
        for size, turns in self._entering.items():
            turns[-request.offset % size] += 1

    def remove(self, request: Request) -> None:
        """Remove a turn."""
        if not self._leaves(request):
            self._settling.pop(request, None)
            self.unwatch(request)
        for size, entering in self._entering.items():
            entering[-request.offset % size] -= 1

    def watch(self, request: Request) -> None:
        """Tell from now on when a turn takes or frees blocks."""
        self._unwatched[request] = None

    def _watch(self) -> None:
        for request in [one for one in self._unwatched if one not in self._settling]:
            del self._unwatched[request]
            for modulus, residue in self._phases:
                self._turns.setdefault((modulus, (residue - request.offset) % modulus), {})[request] = None

    def unwatch(self, request: Request) -> None:
        """No longer tell."""
        if request in self._unwatched:
            del self._unwatched[request]
            return
        for modulus, residue in self._phases:
            key = (modulus, (residue - request.offset) % modulus)
            turns = self._turns[key]
            del turns[request]
            if not turns:
                del self._turns[key]

    @property
    def settled(self) -> bool:
        """Whether every turn has as many tokens in flight as ever."""
        return not self._settling

    def skip(self, request: Request) -> None:
        """Let a turn that was just added settle a step later: it is left out of the one being planned."""
        self._settling[request] += 1

    def settles(self, request: Request) -> bool:
        """Return whether a turn does not have as many yet."""
        return request in self._settling

    def settle(self) -> None:
        """Count a step that was planned."""
        if self._settling:
            self._settling = {request: left - 1 for request, left in self._settling.items() if left > 1}

    def now(self, counter: int, *, in_flight: bool) -> list[Request]:
        """Return the turns that may take or free blocks in the next step, in order of admission.

        Parameters
        ----------
        in_flight
            Whether the step before it is not over. If steps are planned ahead and it is, as one step planned nothing,
            each turn may free earlier than it is expected to.
        """
        if self._unwatched:
            self._watch()
        if not (self._settling or self._turns):
            return []
        due = dict(self._settling)
        if self._ahead and not in_flight:
            for turns in self._turns.values():
                due.update(dict.fromkeys(turns, 0))
        for (modulus, residue), turns in self._turns.items():
            if counter % modulus == residue:
                due.update(dict.fromkeys(turns, 0))
        return sorted(due, key=_rank)

    def first_within(self, start: int, stop: int) -> int:
        """Return the first step of [start, stop) in which some turn may take or free blocks, or else `stop`."""
        if self._settling:
            return start
        if self._unwatched:
            self._watch()
        waits = [(residue - start) % modulus for modulus, residue in self._turns]
        return min([stop, *[start + wait for wait in waits]])

    def blocks(self, counter: int, steps: int) -> int:
        """Return the blocks that all turns together take in the next `steps` steps, whatever they free meanwhile."""
        blocks = 0
        for size, entering in self._entering.items():
            first = counter % size
            last = first + steps % size
            taken = sum(entering[first:last]) + sum(entering[: max(0, last - size)])
            if steps >= size:
                taken += sum(entering) * (steps // size)
            blocks += taken * self._groups[size]
        return blocks


def _rank(request: Request) -> int:
    return request.rank
