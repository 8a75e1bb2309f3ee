"""Several engines behind a router: what they share and do not share, and what a program leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.policies import Policy, PolicyError, Router, Routing
from continuum_sim.policies.views import ReplicaView, RoutedTurn
from continuum_sim.world.simulation import SimulationError
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import affine


@dataclass(frozen=True)
class Script(Routing, Router):
    """Sends turn k of every program to the k-th of these replicas, and may look at the engines before."""

    to: tuple[int, ...]

    def start(self) -> Router:
        return self

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        return self.to[turn.index % len(self.to)]


def placed(outcome: Outcome) -> list[tuple[str, int, int]]:
    """(program, turn, replica) in the order of their names."""
    return sorted((t.program, t.turn, t.replica) for t in outcome.turns)


def test_round_robin_over_equal_replicas_is_as_many_separate_runs() -> None:
    """Closed form: independent single turns, dealt round-robin, queue only with others on the same replica."""
    programs = [program(f"p{i:02}", turn(9 + 5 * (i % 7), 3 + i % 11), at=0.21 * i) for i in range(40)]
    config = engine(14, seqs=3)
    together = simulate(
        programs, config=config, others=[config] * 3, routing="round-robin", step_time=affine(), stepwise=False
    )
    apart = [simulate(programs[k::4], config=config, step_time=affine(), stepwise=False) for k in range(4)]
    alone = {t.program: (k, t) for k, run in enumerate(apart) for t in run.turns}
    assert len(together.turns) == 40
    for record in together.turns:
        number, expected = alone[record.program]
        assert record == expected._replace(replica=number)
    assert together.totals.steps == sum(run.totals.steps for run in apart)
    assert together.totals.end_s == max(run.totals.end_s for run in apart)
    assert together.totals.preemptions == sum(run.totals.preemptions for run in apart)


def test_the_default_router_keeps_programs_at_home_and_spreads_them() -> None:
    programs = [program(f"p{i}", turn(8, 2, gap=1.0), turn(12, 2, gap=1.0), turn(16, 2), at=0.1 * i) for i in range(4)]
    config = engine(40)
    outcome = simulate(programs, config=config, others=[config])
    assert placed(outcome) == [(f"p{i}", k, i % 2) for i in range(4) for k in range(3)]
    assert all(t.cached_tokens == 4 * ((t.prompt_tokens - 4 + 1) // 4) for t in outcome.turns if t.turn)


def test_a_moved_program_computes_its_context_again() -> None:
    p = program("p", turn(16, 1, gap=1.0), turn(24, 1, gap=1.0), turn(32, 1))
    config = engine(40)
    moved = simulate([p], config=config, others=[config], routing=Script((0, 1, 1)))
    assert [t.cached_tokens for t in moved.turns] == [0, 0, 24]
    assert [t.recomputed_tokens for t in moved.turns] == [0, 16, 0]
    assert moved.simulation.cluster.moved_in == [0, 1]


def test_what_was_left_behind_is_found_again_as_far_as_it_still_holds() -> None:
    # Turn 1 keeps only 9 of the first 17 tokens, elsewhere; turn 2 keeps all of turn 1. Of what lies on replica 0,
    # two blocks of four are still a prefix of the prompt. Turn 3 is back on replica 1 and finds all turn 1 left.
    p = program(
        "p", turn(16, 1, gap=1.0), turn(24, 1, kept=9, gap=1.0), turn(32, 1, kept=25, gap=1.0), turn(40, 1, kept=33)
    )
    config = engine(40)
    outcome = simulate([p], config=config, others=[config], routing=Script((0, 1, 0, 1)))
    assert [t.cached_tokens for t in outcome.turns] == [0, 0, 8, 24]


def test_a_shared_prefix_is_cached_on_each_replica_by_itself() -> None:
    programs = [program(f"p{i}", turn(20, 1), at=3.0 * i, shared=("system", 16)) for i in range(4)]
    config = engine(40)
    outcome = simulate(programs, config=config, others=[config], routing="round-robin")
    assert [t.cached_tokens for t in outcome.turns] == [0, 0, 16, 16]
    together = simulate(programs, config=config, others=[config], routing="prefix-aware")
    assert [(t.replica, t.cached_tokens) for t in together.turns] == [(0, 0), (0, 16), (0, 16), (0, 16)]


@pytest.mark.parametrize("index", ["routed", "events"])
def test_a_prompt_cut_below_the_shared_prefix_is_found_neither_there_nor_elsewhere(index: str) -> None:
    p = program("p", turn(20, 1, gap=9.0), turn(24, 1, kept=6), shared=("system", 16))
    q = program("q", turn(20, 1), at=4.0, shared=("system", 16))
    config = engine(40)
    # p's second prompt shares 6 tokens with the system prompt, one block of four.
    outcome = simulate([p, q], config=config, others=[config], routing=f"prefix-aware:match=0.1,index={index}")
    assert outcome.of("q").cached_tokens == 16
    assert outcome.of("p", 1).cached_tokens == 4


def test_a_pin_is_released_when_the_next_turn_goes_elsewhere() -> None:
    # p pins 4 of 9 blocks on replica 0 at 2 s; q (5 blocks) must wait there until p's next turn goes to 1 at 7 s.
    p = program("p", turn(16, 2, gap=5.0), turn(20, 2))
    q = program("q", turn(19, 2), at=3.0)
    config = engine(9)

    @dataclass(frozen=True)
    class PinsHold(Script):
        def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
            return turn.index

    r = program("r", turn(3, 12), at=1.5)  # keeps replica 0 running, or the host would break the pin
    for stepwise in (True, False):
        outcome = simulate(
            [p, r, q], "pin-forever", config=config, others=[config], routing=PinsHold((0,)), stepwise=stepwise
        )
        assert outcome.of("q").scheduled_s == 7.0
        counts = outcome.totals.counts
        assert counts.pins_made == counts.pins_moved == 1
        assert counts.pins_hit == counts.pins_broken == counts.pins_expired == 0
        assert outcome.totals.counts.pinned_block_seconds == 5.0 * 4
        assert [(e.name, e.replica, e.detail) for e in outcome.log if e.program == "p" and e.name == "move"] == [
            ("move", 0, {"to": 1})
        ]


def test_a_program_takes_its_record_with_it() -> None:
    p = program("p", turn(16, 2, gap=1.0), turn(20, 2, gap=1.0), turn(24, 2))
    config = engine(40)
    outcome = simulate([p], "ttl-static:ttl=5", config=config, others=[config] * 2, routing=Script((0, 1, 2)))
    assert [(e.name, e.turn, e.replica) for e in outcome.log if e.name in ("arrive", "pin", "release")] == [
        ("arrive", 0, 0),
        ("pin", 0, 0),
        ("arrive", 1, 1),
        ("pin", 1, 1),
        ("arrive", 2, 2),
        ("release", 2, 2),
    ]


def test_tool_durations_are_shared_and_waits_are_not() -> None:
    programs = [program(f"p{i}", turn(8, 2, gap=3.0), turn(12, 2), at=0.5 * i) for i in range(6)]
    config = engine(6, seqs=1)
    outcome = simulate(programs, config=config, others=[engine(6, seqs=2)])
    one, other = (replica.scheduler.governor.history for replica in outcome.simulation.cluster.replicas)
    assert len(one.all_tools) == len(other.all_tools) == len(other.of_tool("bash")) == 6
    assert one.turn_counts is other.turn_counts
    assert one.mean_wait_s() != other.mean_wait_s()


def test_a_gate_forgets_a_program_that_went_elsewhere() -> None:
    # One program at a time on each replica: p leaves 0 for 1 at 4 s, and only then may q start on 0.
    p, q = program("p", turn(8, 2, gap=2.0), turn(12, 9)), program("q", turn(8, 2), at=1.0)
    config = engine(40)
    for stepwise in (True, False):
        outcome = simulate(
            [p, q], "session-gate:limit=1", config=config, others=[config], routing=Script((0, 1)), stepwise=stepwise
        )
        assert outcome.of("q").scheduled_s == 4.0
        assert outcome.of("p", 1).scheduled_s == 4.0


def test_turns_go_only_where_they_fit() -> None:
    small, large = engine(4), engine(40)
    programs = [program(f"p{i}", turn(8, 2, gap=1.0), turn(40, 2), at=5.0 * i) for i in range(3)]
    for routing in ("round-robin", "least-loaded", "session-affinity", "prefix-aware", "saga-placement", "autellix"):
        outcome = simulate(programs, config=small, others=[large], routing=routing)
        assert all(t.replica == 1 for t in outcome.turns if t.turn == 1), routing


def test_a_program_that_fits_nowhere_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'p' needs 12 KV blocks .* roomiest of 2 replicas has 9 usable"):
        simulate([program("p", turn(40, 9))], config=engine(4), others=[engine(9)])
    with pytest.raises(ConfigError, match=r"'p' needs a context of 49 tokens, above max_model_len 45"):
        simulate(
            [program("p", turn(40, 9))], config=engine(40, max_model_len=30), others=[engine(40, max_model_len=45)]
        )


def test_a_router_that_goes_astray_is_named() -> None:
    with pytest.raises(PolicyError, match=r"router Script sent turn 0 of program 'p' to replica 7, .* fits: 0, 1"):
        simulate([program("p", turn(8, 2))], config=engine(9), others=[engine(9)], routing=Script((7,)))


def test_gates_that_never_open_end_the_run_of_a_cluster_too() -> None:
    from continuum_sim.policies.rules.concur import Concur

    @dataclass(frozen=True)
    class Shut(Concur):
        def start(self):  # type: ignore[no-untyped-def]
            gate = super().start()
            gate.allows = lambda turn, moment: False  # type: ignore[method-assign]
            return gate

    programs = [program("p", turn(8, 2)), program("q", turn(8, 2))]
    with pytest.raises(SimulationError, match="is stuck with 2 unfinished programs"):
        simulate(
            programs, Policy("shut", admission=Shut()), config=engine(9), others=[engine(9)], routing="round-robin"
        )


def test_policies_that_name_a_router_use_it_unless_told_otherwise() -> None:
    p = program("p", turn(8, 2, gap=1.0), turn(12, 2))
    policy = Policy("mine", routing=Script((1, 0)))
    config = engine(9)
    assert placed(simulate([p], policy, config=config, others=[config])) == [("p", 0, 1), ("p", 1, 0)]
    told = simulate([p], policy, config=config, others=[config], routing=Script((0,)))
    assert placed(told) == [("p", 0, 0), ("p", 1, 0)]
    assert placed(simulate([p], policy, config=config)) == [("p", 0, 0), ("p", 1, 0)]
