"""Speculative decoding: schedules worked out by hand (blocks of 4 tokens, steps of 1 s)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.speculation.config import SpeculationConfig
from continuum_sim.traces.schema import Program, Turn
from continuum_sim.world.clients import ClientConfig
from support.programs import engine, program, turn
from support.runs import simulate
from support.schedule import Step, schedule_of


def drafting(
    usable: int, *rates: float, method: str = "ngram", version: str = "0.32", ahead: bool = False, **settings: int
) -> EngineConfig:
    """Return an engine whose steps verify a draft per rate; rates of 0 and 1 leave nothing to chance."""
    speculation = SpeculationConfig(method, len(rates), rates)
    config = engine(usable, **settings)
    return replace(config, speculation=speculation, vllm_version=version, async_scheduling=ahead)


def test_a_step_gives_a_turn_its_accepted_drafts_and_one_token() -> None:
    # The prompt gives a token; then each step computes it and 2 drafts, of which 1 is accepted.
    steps, outcome = schedule_of([program("a", turn(6, 6))], config=drafting(10, 1.0, 0.0))
    assert steps == [
        Step(0.0, {"a": 6}, 8, {"a": 0}),
        Step(1.0, {"a": 3}, 7),  # 7 tokens known, 6 computed: slots for 9
        Step(2.0, {"a": 3}, 7),  # 9 known: slots for 11
        Step(3.0, {"a": 3}, 6),  # 11 known: slots for 13; of 2 accepted tokens it takes 1
    ]
    record = outcome.of("a")
    assert (record.first_token_s, record.finish_s, record.output_tokens) == (1.0, 4.0, 6)
    assert record.computed_tokens == 6 + 5, "rejected drafts are no work"
    drafts = outcome.simulation.scheduler.drafts
    assert drafts is not None
    assert (drafts.verifications, drafts.drafted_tokens, drafts.accepted_tokens) == (3, 6, 3)
    assert list(zip(outcome.gaps.gap_s, outcome.gaps.number, strict=True)) == [(1.0, 3)], "tokens that come together"


def test_nothing_accepted_is_as_slow_as_no_drafts_at_all() -> None:
    programs = [program("a", turn(6, 9, gap=2.0), turn(30, 4)), program("b", turn(9, 7), at=1.5)]
    plain = simulate(programs, config=engine(40))
    drafted = simulate(programs, config=drafting(40, 0.0, 0.0, 0.0))
    assert [(t.program, t.finish_s) for t in plain.turns] == [(t.program, t.finish_s) for t in drafted.turns]


def test_drafts_take_budget_and_those_beyond_it_are_left_out() -> None:
    # A budget of 7: two turns with 3 tokens each leave 1 for c's prompt; then 1 for its own step.
    programs = [program("a", turn(3, 8)), program("b", turn(3, 8)), program("c", turn(2, 4), at=1.0)]
    steps, _ = schedule_of(programs, config=drafting(40, 0.0, 0.0, budget=7))
    assert [step.batch for step in steps[:5]] == [
        {"a": 3, "b": 3},
        {"a": 3, "b": 3, "c": 1},
        {"a": 3, "b": 3, "c": 1},
        {"a": 3, "b": 3, "c": 1},
        {"a": 3, "b": 3, "c": 1},
    ]


def test_the_drafter_of_a_draft_model_takes_a_token_of_the_budget_a_turn() -> None:
    programs = [program("a", turn(3, 4)), program("b", turn(3, 4))]
    steps, _ = schedule_of(programs, config=drafting(40, 0.0, method="draft_model", budget=7))
    assert [step.batch for step in steps[:3]] == [{"a": 3, "b": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 2}]


@pytest.mark.parametrize(("method", "blocks"), [("ngram", 2), ("eagle", 3), ("draft_model", 3)])
def test_the_slots_of_the_drafter_are_allocated_with_a_prompt(method: str, blocks: int) -> None:
    steps, _ = schedule_of([program("a", turn(7, 2))], config=drafting(10, 0.0, 0.0, method=method))
    assert steps[0].free == 10 - blocks


def test_drafts_take_blocks_before_they_are_accepted() -> None:
    # At 1 s 8 tokens are computed, and 4 more fill the third block; at 2 s 9 are, and the last draft lies in a fourth.
    steps, _ = schedule_of([program("a", turn(8, 4))], config=drafting(10, 0.0, 0.0, 0.0))
    assert [step.free for step in steps] == [8, 7, 6, 6]


@pytest.mark.parametrize(
    ("method", "version", "cached"),
    [("ngram", "0.32", 16), ("ngram", "0.33", 16), ("eagle", "0.32", 12), ("eagle", "0.33", 16)],
)
def test_the_block_before_the_first_computed_token(method: str, version: str, cached: int) -> None:
    """0.32 computes it again for drafts from hidden states; 0.33 knows from its hash which token follows it."""
    config = drafting(40, 0.0, method=method, version=version)
    outcome = simulate([program("a", turn(14, 4, gap=1.0), turn(24, 2))], config=config)
    assert outcome.of("a", 1).cached_tokens == cached


@pytest.mark.parametrize(("version", "cached"), [("0.32", 12), ("0.33", 12)])
def test_a_block_whose_next_token_differs(version: str, cached: int) -> None:
    # 16 tokens are kept: the hash of the fourth block covers the 17th as well (0.33), or it is dropped (0.32).
    config = drafting(40, 0.0, method="eagle", version=version)
    outcome = simulate([program("a", turn(14, 10, gap=1.0), turn(24, 2, kept=16))], config=config)
    assert outcome.of("a", 1).cached_tokens == cached


@pytest.mark.parametrize(
    ("method", "drafter", "version", "cached"),
    [
        ("draft_model", None, "0.32", 20),  # blocks of 4 tokens: the whole prompt but for its last token
        ("eagle3", None, "0.32", 20),  # block 6 holds the last token, but may be looked at
        ("mtp", 0, "0.32", 20),
        ("mtp", 1, "0.32", 20),
        ("eagle3", None, "0.33", 20),
    ],
)
def test_a_prompt_that_is_sent_again(method: str, drafter: int | None, version: str, cached: int) -> None:
    config = replace(drafting(90, 0.0, method=method, version=version), drafter_group=drafter)
    config = replace(config, kv_cache_groups=(GroupSpec("full", 4), GroupSpec("sliding", 4, 9)))
    outcome = simulate([program("a", turn(24, 4, gap=1.0), turn(24, 2, kept=24))], config=config)
    assert outcome.of("a", 1).cached_tokens == cached


@pytest.mark.parametrize(
    ("method", "drafter", "version", "cached"),
    [
        ("draft_model", None, "0.32", 20),
        ("eagle3", None, "0.32", 16),  # all drop the sixth block
        ("mtp", 0, "0.32", 16),  # the drafter's group drops it
        ("mtp", 1, "0.32", 16),  # a window can only be hit where its group keeps it
        ("eagle3", None, "0.33", 20),
    ],
)
def test_a_prompt_that_goes_on(method: str, drafter: int | None, version: str, cached: int) -> None:
    """Of the window only that before the prompt's last token is kept, and the block after it where that is dropped."""
    config = replace(drafting(90, 0.0, method=method, version=version), drafter_group=drafter)
    config = replace(config, kv_cache_groups=(GroupSpec("full", 4), GroupSpec("sliding", 4, 9)))
    outcome = simulate([program("a", turn(22, 4, gap=1.0), turn(40, 2))], config=config)
    assert outcome.of("a", 1).cached_tokens == cached


def with_states(method: str, version: str, usable: int) -> EngineConfig:
    """Return an engine with 2 drafts a step, full attention and states, of which full attention is the drafter's."""
    config = drafting(usable, 0.0, 0.0, method=method, version=version)
    groups = GroupSpec("full", 4), GroupSpec("recurrent", 4)
    return replace(config, kv_cache_groups=groups, drafter_group=0 if method == "mtp" else None)


def test_each_draft_leaves_a_state() -> None:
    steps, _ = schedule_of([program("a", turn(10, 5))], config=with_states("ngram", "0.32", 24))
    assert [(step.batch["a"], step.free) for step in steps] == [
        (8, 19),  # 2 blocks and a state, and a state for each draft
        (2, 17),  # a third block, and a state beside the one that the step goes on from
        (3, 16),  # 13 tokens may be computed: a fourth block and a state; the one after 8 tokens is freed
        (3, 16),
        (3, 16),
        (3, 17),  # 13 are: the state after 10 is freed
    ]


@pytest.mark.parametrize(
    ("method", "version", "first_step", "cached"),
    [("draft_model", "0.32", 20, 20), ("mtp", "0.32", 16, 16), ("mtp", "0.33", 20, 20)],
)
def test_the_state_that_a_drafter_lets_a_prompt_hit(method: str, version: str, first_step: int, cached: int) -> None:
    """0.32 computes the last block of a hit again, and so ends a step of the prompt a block earlier."""
    programs = [program("a", turn(22, 4, gap=1.0), turn(40, 2))]
    steps, outcome = schedule_of(programs, config=with_states(method, version, 99))
    assert steps[0].batch == {"a": first_step}
    assert outcome.of("a", 1).cached_tokens == cached


@pytest.mark.parametrize(("version", "ahead", "cached"), [("0.32", False, 8), ("0.33", False, 12), ("0.32", True, 12)])
def test_tokens_of_the_last_step_are_hashed_late(version: str, ahead: bool, cached: int) -> None:
    """9 tokens are known, 4 more come: without asynchronous scheduling 0.32 hashes those with the next step."""
    config = drafting(40, 1.0, 1.0, 1.0, method="ngram_gpu", version=version, ahead=ahead)
    outcome = simulate([program("a", turn(8, 5, gap=1.0), turn(24, 2))], config=config)
    assert outcome.of("a", 1).cached_tokens == cached


def test_a_cached_prompt_enters_with_rows_for_drafts_it_does_not_have() -> None:
    # The prompt of 13 finds its 12 tokens: vLLM lets its step look like a decoding one.
    programs = [program("a", turn(8, 5, gap=2.0), turn(13, 3)), program("b", turn(4, 30))]
    steps, _ = schedule_of(programs, config=drafting(60, 0.0, 0.0, version="0.33"))
    (entry,) = [step for step in steps[1:] if "a" in step.admitted]
    assert entry.admitted == {"a": 12}
    assert entry.batch == {"b": 3, "a": 3}


def test_planning_ahead_reckons_with_every_draft() -> None:
    # The second of two steps under way begins where the first would end if all were accepted.
    steps, outcome = schedule_of(
        [program("a", turn(8, 9))], config=drafting(20, 0.0, 0.0, 0.0, method="ngram_gpu", ahead=True)
    )
    assert [step.batch for step in steps[:3]] == [{"a": 8}, {"a": 4}, {"a": 4}]
    # Slots for 12 tokens at first; then the 4 of the step under way lie before 4 more: 16.
    assert [step.free for step in steps[:3]] == [18, 17, 16]
    assert outcome.of("a").finish_s == 9.0


def test_an_end_that_accepted_drafts_bring_is_not_foreseen() -> None:
    """Even by the token limit: the step planned meanwhile is in vain, unlike without drafts."""
    programs = [Program("a", (Turn(8, 0, 5, finish="max_tokens"),), 0.0)]
    plain, _ = schedule_of(programs, config=replace(engine(20), async_scheduling=True))
    drafted, outcome = schedule_of(programs, config=drafting(20, 1.0, 1.0, 1.0, method="ngram_gpu", ahead=True))
    assert [step.batch for step in plain] == [{"a": 8}] + [{"a": 1}] * 4 + [{}]
    assert [step.batch for step in drafted] == [{"a": 8}, {"a": 4}, {"a": 4}]
    assert outcome.of("a").finish_s == 2.0
    assert outcome.of("a").computed_tokens == 12


def test_a_preempted_turn_goes_on_with_its_own_draws() -> None:
    programs = [program("a", turn(8, 20)), program("b", turn(8, 20))]
    roomy = simulate(programs, config=drafting(40, 0.7, 0.4))
    tight = simulate(programs, config=drafting(9, 0.7, 0.4, max_model_len=28))
    assert tight.totals.preemptions > 0
    counts = [outcome.simulation.scheduler.drafts for outcome in (roomy, tight)]
    assert all(count is not None for count in counts)
    assert tight.of("a").finish_s == roomy.of("a").finish_s, "the first turn never notices"


def test_a_client_that_has_enough_tokens_hangs_up_in_the_middle_of_a_step() -> None:
    config = drafting(40, 1.0, 1.0)
    clients = ClientConfig(abort_rate=1.0)
    outcome = simulate([program("a", turn(8, 40))], config=config, clients=clients)
    record = outcome.of("a")
    assert record.aborted
    assert record.output_tokens < 40
    # The prompt gives one token and every step three; the engine hears of it a step after.
    assert record.finish_s == 1 + -(-(record.output_tokens - 1) // 3) + 1


@pytest.mark.parametrize("groups", [(), (GroupSpec("full", 4), GroupSpec("full", 4))])
def test_a_turn_alone_breaks_a_pin_for_the_slots_of_its_drafter(groups: tuple[GroupSpec, ...]) -> None:
    # From 5 s on the pin holds 6 of 31 blocks. At 20 s the other prompt fits into the 25 left, but not the slots
    # of its drafts: admitted for its first chunk, it would lack a block for its last one and preempt itself.
    config = drafting(31 * max(1, len(groups)), 0.0, 0.0, 0.0, 0.0, method="mtp", budget=16)
    config = replace(config, kv_cache_groups=groups)
    programs = [program("a", turn(23, 4, gap=100.0), turn(27, 1)), program("b", turn(97, 1), at=20.0)]
    outcome = simulate(programs, "pin-forever", config=config)
    assert outcome.totals.counts.pinned_block_seconds == 15.0 * 6 * max(1, len(groups))
