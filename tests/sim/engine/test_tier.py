"""A link's queue, and a tier's blocks against a list with one entry per block."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.chain import Chain
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.offload.link import Link
from continuum_sim.engine.offload.tier import Stretch, Tier
from continuum_sim.engine.offload.tiers import Tiers
from continuum_sim.engine.request import Context, Request
from continuum_sim.errors import ConfigError

# A link -----------------------------------------------------------------------------------------------------


def test_transfers_wait_for_those_before_them() -> None:
    link = Link(0.5)
    assert link.send(4, 1.0) == 3.0
    assert link.send(2, 1.5) == 4.0, "starts at 3 s"
    assert link.wait_s(2.0) == 2.0
    assert link.send(2, 10.0) == 11.0, "the link was idle from 4 to 10 s"
    assert link.wait_s(12.0) == 0.0


def test_busy_time_stops_at_the_end_of_the_run() -> None:
    link = Link(1.0)
    link.send(2, 0.0)
    link.send(6, 4.0)
    assert link.busy_s(10.0) == 8.0
    assert link.busy_s(7.0) == 5.0, "3 s of the second transfer are still to come"


@given(jobs=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), max_size=20))
def test_a_link_is_a_queue_with_one_server(jobs: list[tuple[int, int]]) -> None:
    """Lindley's recursion: a job waits as long as the previous one, plus that one's service, minus the time between."""
    link, now, wait, service = Link(1.0), 0.0, 0.0, 0.0
    for gap, blocks in jobs:
        now += gap
        wait = max(0.0, wait + service - gap)
        service = float(blocks)
        assert link.send(blocks, now) == now + wait + service
    assert link.busy_s(1000.0) == sum(blocks for _, blocks in jobs)


# Tiers ------------------------------------------------------------------------------------------------------


class Naive:
    """Both tiers as lists of blocks, in order of eviction."""

    def __init__(self, dram_blocks: int, ssd_blocks: int) -> None:
        self.rooms = (dram_blocks, ssd_blocks)
        self.dram: list[tuple[Chain, int]] = []
        self.ssd: list[tuple[Chain, int]] = []

    def store(self, context: Context, stop: int) -> None:
        wanted = [(part.chain, i) for part in context.parts(0, stop) for i in range(part.start, part.stop)]
        missing = [block for block in wanted if block not in self.dram]
        while self.rooms[0] - len(self.dram) < len(missing):
            self.spill(next(block for block in self.dram if block not in wanted))
        self.dram += missing
        self.ssd = [block for block in self.ssd if block not in self.dram]
        for part in reversed(context.parts(0, stop)):
            self.use(self.dram, part.chain)

    def spill(self, block: tuple[Chain, int]) -> None:
        self.dram.remove(block)
        if not self.rooms[1]:
            return
        self.use(self.ssd, block[0])
        if len(self.ssd) == self.rooms[1]:
            self.ssd.pop(0)
        self.ssd.append(block)
        self.use(self.ssd, block[0])

    def abandon(self, context: Context, start: int) -> None:
        self.dram = [b for b in self.dram if b[0] is not context.own or b[1] < start]
        self.ssd = [b for b in self.ssd if b[0] is not context.own or b[1] < start]

    @staticmethod
    def use(tier: list[tuple[Chain, int]], chain: Chain) -> None:
        """Move a chain's blocks to the end, its tail before its head."""
        used = sorted((block for block in tier if block[0] is chain), key=lambda block: -block[1])
        tier[:] = [block for block in tier if block[0] is not chain] + used


@settings(max_examples=40)
@given(data=st.data())
def test_stretches_hold_what_single_blocks_would(data: st.DataObject) -> None:
    largest = 12
    dram_blocks = largest + data.draw(st.integers(0, 20))
    ssd_blocks = data.draw(st.one_of(st.just(0), st.integers(largest, 40)))
    tiers = Tiers(TierConfig(dram_blocks, 1.0, ssd_blocks, 1.0), 1, lambda tokens: tokens)
    naive = Naive(dram_blocks, ssd_blocks)
    system = Chain()
    contexts = [Context(system if i % 2 else None, data.draw(st.integers(0, 6)) if i % 2 else 0) for i in range(5)]
    lengths = [0] * 5
    for now_s in range(data.draw(st.integers(1, 25))):
        i = data.draw(st.integers(0, 4))
        context = contexts[i]
        if data.draw(st.integers(0, 4)) == 0:
            kept = data.draw(st.integers(0, lengths[i]))
            tiers.abandon(context, kept)
            naive.abandon(context, kept)
            context.shared_blocks = min(context.shared_blocks, kept)
            lengths[i] = kept
        lengths[i] = data.draw(st.integers(lengths[i], largest))
        tiers.store(context, lengths[i], float(now_s))
        naive.store(context, lengths[i])
        for tier, blocks in ((tiers.dram, naive.dram), (tiers.ssd, naive.ssd)):
            held = {(chain, b) for chain in {system, *(c.own for c in contexts)} for b in range(*tier.span(chain))}
            assert held == set(blocks)
            assert tier.used_blocks == len(blocks) <= tier.num_blocks
        assert tiers.dram.span(contexts[i].own)[1] in (0, lengths[i]), "what was just stored is there"


def context_of(blocks: int, tiers: Tiers, now_s: float = 0.0) -> Context:
    context = Context()
    tiers.store(context, blocks, now_s)
    return context


def turn_of(context: Context) -> Request:
    return Request(
        context, prompt_tokens=9, kept_tokens=0, max_tokens=1, known_tokens=0, arrival_s=0.0, tool=None, last=True
    )


def test_what_dram_evicts_comes_back_over_both_links() -> None:
    # Blocks of 1 token, 1 s on the link to DRAM and 2 s on that to the SSD.
    tiers = Tiers(TierConfig(10, 1.0, 20, 2.0, reload="always"), 1, lambda tokens: 0.0)
    old = context_of(8, tiers)  # DRAM link busy to 8 s
    new = context_of(6, tiers, 20.0)  # to 26 s; old's blocks 4 to 8 go to the SSD, until 28 s
    assert tiers.dram.span(old.own) == (0, 4)
    assert tiers.ssd.span(old.own) == (4, 8)
    assert tiers.reload_stop(old, 1, 8, 100.0) == 8
    request = turn_of(old)
    tiers.reload(request, 1, 8, 100.0)
    # 3 blocks from DRAM until 103 s; 4 from the SSD until 108 s, then over the other link until 112 s.
    assert tiers.next_event_s() == 108.0
    assert tiers.arrived(107.9) == []
    late = turn_of(new)
    tiers.reload(late, 0, 6, 107.9)  # from 107.9 to 113.9 s: in the way of what comes from the SSD at 108 s
    assert tiers.arrived(113.8) == []
    assert tiers.arrived(114.0) == [(113.9, late)]
    assert tiers.arrived(118.0) == [(117.9, request)]
    assert (tiers.dram.read_blocks, tiers.ssd.read_blocks) == (9, 4)
    assert (tiers.dram.written_blocks, tiers.ssd.written_blocks) == (14, 4)


def test_a_reload_waits_for_copies_under_way() -> None:
    tiers = Tiers(TierConfig(50, 1.0, reload="always"), 1, lambda tokens: 0.0)
    context_of(20, tiers)
    context = context_of(5, tiers)  # from 20 to 25 s
    tiers.reload_stop(context, 0, 5, 1.0)
    tiers.reload(turn_of(context), 0, 5, 1.0)
    assert tiers.next_event_s() == 30.0


@pytest.mark.parametrize(
    ("per_token_s", "stop"),
    [
        (1.5, 8),  # all in 9 s, not 12: 4 blocks are in host memory at 5 s and on the GPU 4 s later
        (1.1, 4),  # 4 in 4 s, not 4.4, but all 8 would take 8.8 s
        (0.9, 0),  # nothing: 4 take 3.6 s
    ],
)
def test_reloads_as_far_as_that_is_faster(per_token_s: float, stop: int) -> None:
    tiers = Tiers(TierConfig(10, 1.0, 20, 1.25), 1, lambda tokens: tokens * per_token_s)
    old = context_of(8, tiers)
    context_of(6, tiers)
    assert tiers.dram.span(old.own) == (0, 4)
    assert tiers.reload_stop(old, 0, 8, 100.0) == stop


def test_a_busy_link_makes_computing_faster() -> None:
    tiers = Tiers(TierConfig(50, 1.0), 1, lambda tokens: 2.0 * tokens)
    context = context_of(5, tiers)  # until 5 s
    assert tiers.reload_stop(context, 0, 5, 1.0) == 5  # 9 s to 10 s
    assert tiers.reload_stop(context, 0, 5, 0.0) == 0, "10 s either way"


def test_rebuilding_is_the_faster_of_the_two() -> None:
    def rebuild_s(reload: str, tokens: int) -> float:
        tiers = Tiers(TierConfig(50, 1.0, reload=reload), 4, lambda tokens: tokens * tokens / 100)  # type: ignore[arg-type]
        return tiers.rebuild_s(tokens)

    assert rebuild_s("faster", 10) == 1.0
    assert rebuild_s("always", 10) == 3.0, "2.5 blocks are 3"
    assert rebuild_s("faster", 100) == 25.0
    assert rebuild_s("faster", 101) == pytest.approx(26.0)
    assert rebuild_s("always", 100) == 25.0


@pytest.mark.parametrize("settings", [{"dram_blocks": 0}, {"ssd_blocks": -1}, {"dram_block_s": -1.0}])
def test_refuses_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TierConfig(**{"dram_blocks": 1, "dram_block_s": 1.0, **settings})  # type: ignore[arg-type]


def test_what_is_held_goes_last() -> None:
    tier = Tier("dram", 10)
    first, second = Chain(), Chain()
    tier.put(first, 0, 4)
    tier.put(second, 0, 4)
    tier.hold(first)
    assert (tier.free_blocks, tier.spare_blocks) == (2, 6)
    assert tier.make_room(4) == [Stretch(second, 2, 4)]
    assert tier.make_room(7) == [Stretch(second, 0, 2), Stretch(first, 3, 4)]
    tier.put(second, 0, 4)
    tier.let_go(first)
    assert tier.spare_blocks == 10
    assert tier.make_room(4) == [Stretch(first, 2, 3)]
