"""Data-parallel ranks: which one a turn goes to by default, behind how many API servers, and in which deployment."""

from __future__ import annotations

from continuum_sim.policies import Routing
from continuum_sim.policies.rules.round_robin import RoundRobin
from continuum_sim.policies.rules.vllm_balancer import VllmBalancer
from continuum_sim.world.deployments import Deployments
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import affine


def placed(outcome: Outcome) -> list[int]:
    """Return the engine of each turn, in order of arrival."""
    return [t.replica for t in sorted(outcome.turns, key=lambda t: (t.arrival_s, t.program))]


def test_a_turn_that_returns_need_not_find_its_cache() -> None:
    """Closed form: alone, a program has no load anywhere, so ties go round: 0, then 1."""
    p = program("p", turn(16, 1, gap=9.0), turn(24, 1, gap=9.0), turn(32, 1))
    outcome = simulate([p], config=engine(40), ranks=2, routing=VllmBalancer(api_servers=1))
    assert placed(outcome) == [0, 1, 0]
    assert [t.cached_tokens for t in outcome.turns] == [0, 0, 16]


def test_each_api_server_begins_at_a_rank_of_its_own() -> None:
    """By default as many as ranks: the first server's turns go to 0 and then 1, the second's to 1 and then 0."""
    programs = [program(f"p{k}", turn(8, 1), at=9.0 * k) for k in range(4)]
    assert placed(simulate(programs, config=engine(40), ranks=2)) == [0, 1, 1, 0]
    assert placed(simulate(programs, config=engine(40), ranks=2, routing="vllm-balancer:api_servers=1")) == [0, 1, 0, 1]


def test_a_burst_spreads_by_turns_in_flight() -> None:
    programs = [program(f"p{k}", turn(8, 40), at=0.001 * k) for k in range(9)]
    outcome = simulate(programs, config=engine(400, seqs=9), ranks=3, step_time=affine())
    assert sorted(placed(outcome)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_ranks_are_as_good_as_replicas_behind_a_router_that_binds_them() -> None:
    programs = [program(f"p{k}", turn(9 + k, 3, gap=2.0), turn(20 + k, 4), at=0.3 * k) for k in range(6)]
    config = engine(60)
    ranks = simulate(programs, config=config, others=[config], ranks=2, routing="session-affinity")
    replicas = simulate(programs, config=config, others=[config] * 3, routing="session-affinity")
    assert ranks.turns == replicas.turns


def test_programs_stay_in_their_deployment_but_not_on_their_rank() -> None:
    programs = [program(f"p{k}", *[turn(16 + 8 * n, 1, gap=3.0) for n in range(6)], at=1.0 * k) for k in range(4)]
    config = engine(200)
    outcome = simulate(programs, config=config, others=[config], ranks=2)
    ranks = {p.program_id: [t.replica for t in outcome.turns if t.program == p.program_id] for p in programs}
    assert [{rank // 2 for rank in ranks[f"p{k}"]} for k in range(4)] == [{0}, {1}, {0}, {1}]
    assert all(len(set(own)) == 2 for own in ranks.values())


def test_any_router_may_stand_in_front_of_deployments() -> None:
    """The router in front sees two deployments, each with ranks that take turns."""
    rule: Routing = Deployments(RoundRobin(), VllmBalancer(1), 2)
    programs = [program(f"p{k}", turn(8, 1), at=9.0 * k) for k in range(4)]
    config = engine(40)
    assert placed(simulate(programs, config=config, others=[config], ranks=2, routing=rule)) == [0, 2, 1, 3]
