"""The aggregate over decoding turns, against one counter per turn."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from continuum_sim.engine.decoding import Decoding
from continuum_sim.engine.request import Context, Request


@dataclass
class Twin:
    """One decoding turn with a counter of its own."""

    computed: int
    left: int


class TwoCounts(RuleBasedStateMachine):
    """Adds, removes, skips and advances turns in both counts."""

    @initialize(block_size=st.sampled_from([1, 2, 4, 7, 16]))
    def start(self, block_size: int) -> None:
        self.block_size = block_size
        self.decoding = Decoding(block_size)
        self.turns: dict[Request, Twin] = {}
        self.admissions = 0

    @rule(computed=st.integers(1, 60), left=st.integers(1, 40), outputs=st.integers(1, 5))
    def add(self, computed: int, left: int, outputs: int) -> None:
        request = Request(
            Context(),
            prompt_tokens=computed,
            kept_tokens=0,
            max_tokens=outputs + left,
            known_tokens=0,
            arrival_s=0.0,
            tool=None,
            last=True,
        )
        request.num_computed_tokens = computed
        request.num_output_tokens = outputs
        request.rank = self.admissions
        self.admissions += 1
        self.decoding.add(request)
        self.turns[request] = Twin(computed, left)

    @rule(which=st.integers(0, 20))
    def remove(self, which: int) -> None:
        if self.turns:
            request = list(self.turns)[which % len(self.turns)]
            twin = self.turns.pop(request)
            self.decoding.remove(request)
            assert request.num_computed_tokens == twin.computed
            assert request.max_tokens - request.num_output_tokens == twin.left
            assert not request.decoding

    @rule(steps=st.integers(1, 50), skipped=st.sets(st.integers(0, 5)))
    def advance(self, steps: int, skipped: set[int]) -> None:
        if not self.turns:
            return
        left_out = {request for at, request in enumerate(self.turns) if at in skipped}
        for request in left_out:
            self.decoding.skip(request)
        if left_out:
            steps = 1  # a plan that leaves a turn out holds for one step
        ends = [twin.left for request, twin in self.turns.items() if request not in left_out]
        if ends:
            # No jump goes beyond the first end.
            steps = min(steps, min(ends))
        finished = self.decoding.advance(steps)
        for request, twin in self.turns.items():
            if request not in left_out:
                twin.computed += steps
                twin.left -= steps
        ended = {request for request, twin in self.turns.items() if not twin.left}
        assert set(finished) == ended
        assert len(finished) == len(ended)
        for request in finished:
            twin = self.turns.pop(request)
            self.decoding.remove(request)
            assert request.num_output_tokens == request.max_tokens
            assert request.num_computed_tokens == twin.computed

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "decoding"):
            return
        assert self.decoding.count == len(self.turns)
        assert self.decoding.context_tokens() == sum(twin.computed + 1 for twin in self.turns.values())
        for request, twin in self.turns.items():
            assert self.decoding.computed(request) == twin.computed
        if self.turns:
            assert self.decoding.steps_to_first_end() == min(twin.left for twin in self.turns.values())

    @invariant()
    def block_needs_agree(self) -> None:
        if not hasattr(self, "decoding"):
            return
        for after, steps in ((0, 1), (1, 1), (0, 5), (1, 16), (3, 40)):
            naive = sum(
                -(-(twin.computed + after + steps) // self.block_size) - -(-(twin.computed + after) // self.block_size)
                for twin in self.turns.values()
            )
            assert self.decoding.new_blocks(after, steps) == naive


TwoCounts.TestCase.settings = settings(max_examples=15, stateful_step_count=25)
TestTwoCounts = TwoCounts.TestCase
