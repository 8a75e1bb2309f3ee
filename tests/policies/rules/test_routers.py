"""Where each router sends a turn: choices worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from continuum_sim.policies import EngineCounts, PolicyError, Router
from continuum_sim.policies.registry import ROUTINGS
from continuum_sim.policies.views import ReplicaView, RoutedTurn
from continuum_sim.setup.notation import parse_routing


@dataclass
class Replica:
    """A replica whose state, including its engine's, the test sets."""

    number: int
    num_running: int = 0
    num_waiting: int = 0
    open_programs: int = 0
    free_blocks: int = 100
    total_blocks: int = 100
    block_size: int = 10
    pinned_blocks: int = 0
    cached: dict[str, int] = field(default_factory=dict)

    @property
    def engine(self) -> Replica:
        return self

    def rebuild_s(self, context_tokens: int) -> float:
        return float(context_tokens)

    def cached_tokens(self, turn: RoutedTurn) -> int:
        return self.cached.get(turn.program_id, 0)


def turn(
    program: str = "p",
    prompt: int = 100,
    *,
    kept: int = 0,
    home: int | None = None,
    prefix: tuple[str, int] | None = None,
) -> RoutedTurn:
    index = 0 if home is None else 1
    return RoutedTurn(program, index, 0.0, prompt, kept, *(prefix or (None, 0)), home)


def send(router: Router, one: RoutedTurn, replicas: Sequence[Replica]) -> int:
    views: Sequence[ReplicaView] = replicas
    return router.route(one, views, 0.0)


def router(text: str) -> Router:
    return parse_routing(text).start()


def test_round_robin_takes_turns_and_skips_what_does_not_fit() -> None:
    rule, (a, b, c) = router("round-robin"), (Replica(0), Replica(1), Replica(2))
    assert [send(rule, turn(), [a, b, c]) for _ in range(4)] == [0, 1, 2, 0]
    assert [send(rule, turn(), [a, c]) for _ in range(3)] == [2, 0, 2]
    assert send(rule, turn(), [a, b, c]) == 0


def test_least_loaded_counts_turns_and_ties_go_round() -> None:
    rule = router("least-loaded")
    assert send(rule, turn(), [Replica(0, num_running=3), Replica(1, num_running=2)]) == 1
    idle = [Replica(0), Replica(1), Replica(2)]
    assert [send(rule, turn(), idle) for _ in range(4)] == [1, 2, 0, 1], "the second decision starts at 1"


def test_least_loaded_shuns_a_queue_in_front_of_full_memory() -> None:
    # 1 running + 2 waiting behind 90 % of memory: 3 + 2·6·0.4 = 7.8; 7 running are less, 8 more.
    queue = Replica(0, num_running=1, num_waiting=2, free_blocks=10)
    assert send(router("least-loaded"), turn(), [queue, Replica(1, num_running=7)]) == 1
    assert send(router("least-loaded"), turn(), [queue, Replica(1, num_running=8)]) == 0
    # The same queue before half empty memory is 3, whatever is free.
    hurried = Replica(0, num_running=1, num_waiting=2, free_blocks=50)
    assert send(router("least-loaded"), turn(), [hurried, Replica(1, num_running=4)]) == 0


def test_vllms_balancer_goes_by_what_was_published_and_by_its_own_choices() -> None:
    rule, ranks = router("vllm-balancer:api_servers=1"), [Replica(0, num_running=9), Replica(1), Replica(2)]
    assert [send(rule, turn(name), ranks) for name in "abc"] == [0, 1, 2], "nothing was published: ties go round"
    rule.counts_published({0: EngineCounts(0, 5, 0.1), 1: EngineCounts(0, 2, 0.1), 2: EngineCounts(0, 3, 0.1)})
    # 5, 2 and 3; the choice counts as a waiting turn, and the tie at 3 goes to the first from rank 1 on.
    assert [send(rule, turn(name), ranks) for name in "de"] == [1, 1]
    # 1 waiting in front of memory used by 70 % counts 6 · 0.2 more: 1 + 2 + 1.2 against 4.
    rule.counts_published({0: EngineCounts(1, 2, 0.7), 1: EngineCounts(0, 4, 0.9), 2: EngineCounts(0, 9, 0.0)})
    assert send(rule, turn("f"), ranks) == 1


def test_vllms_balancer_counts_turns_in_flight_as_if_all_its_servers_had_as_many() -> None:
    rule, ranks = router("vllm-balancer:api_servers=2"), [Replica(0), Replica(1)]
    assert [send(rule, turn(name), ranks) for name in "abcd"] == [0, 1, 1, 0], "each server has a turn on each rank"
    for name in "cd":
        rule.turn_ended(name)
    nothing = {0: EngineCounts(0, 0, 0.0), 1: EngineCounts(0, 0, 0.0)}
    rule.counts_published(nothing)
    # The first server still has a turn on 0, which counts 2; the second one on 1.
    assert [send(rule, turn(name), ranks) for name in "ef"] == [1, 0]
    rule.counts_published({0: EngineCounts(0, 3, 0.0), 1: EngineCounts(0, 0, 0.0)})
    assert send(rule, turn("g"), ranks) == 1, "2 in flight of the own turns against 3 running"


def test_vllms_balancer_has_a_server_or_more() -> None:
    with pytest.raises(PolicyError, match="api_servers is 0"):
        router("vllm-balancer:api_servers=0")


def test_session_affinity_starts_where_there_is_most_memory_a_program() -> None:
    small, large = Replica(0, open_programs=2), Replica(1, open_programs=5, total_blocks=300)
    assert send(router("session-affinity"), turn(), [small, large]) == 1
    assert send(router("session-affinity"), turn(), [small, Replica(1, open_programs=2)]) == 0


def test_session_affinity_stays_home_unless_home_cannot_hold_it() -> None:
    busy, idle = Replica(0, num_running=9, num_waiting=9, free_blocks=0), Replica(1)
    assert send(router("session-affinity:queue=none"), turn(home=0), [busy, idle]) == 0
    assert send(router("session-affinity"), turn(home=0), [idle]) == 1


@pytest.mark.parametrize(
    ("waiting", "other", "chosen"),
    [
        (2, Replica(1, num_running=5), 0),
        (3, Replica(1, num_running=5, free_blocks=10), 1),
        (3, Replica(1, num_running=5, free_blocks=9), 0),
        (3, Replica(1, num_waiting=1), 0),
    ],
)
def test_session_affinity_falls_back_when_home_queues_and_another_has_room(
    waiting: int, other: Replica, chosen: int
) -> None:
    home = Replica(0, num_running=1, num_waiting=waiting)
    assert send(router("session-affinity:queue=2"), turn(prompt=100, home=0), [home, other]) == chosen


def test_prefix_aware_follows_the_longest_match_it_sent() -> None:
    rule, replicas = router("prefix-aware"), [Replica(0), Replica(1)]
    replicas[0].num_running = 1
    assert send(rule, turn("p", 100), replicas) == 1, "no match: the shortest queue"
    replicas[1].num_running = 5
    assert send(rule, turn("p", 250, kept=100, home=1), replicas) == 1, "100 of 250 are more than 0.3"
    assert send(rule, turn("p", 1000, kept=250, home=1), replicas) == 0, "250 of 1000 are not"
    # Replica 1 was sent 250 tokens of this program and 0 the 1000 that follow on them.
    assert send(rule, turn("p", 1200, kept=1000, home=0), replicas) == 0
    # A context cut back to 240 tokens matches both alike: the shorter queue.
    replicas[0].num_running = 9
    assert send(rule, turn("p", 300, kept=240, home=0), replicas) == 1


def test_prefix_aware_knows_prefixes_that_programs_share() -> None:
    rule, replicas = router("prefix-aware"), [Replica(0), Replica(1)]
    assert send(rule, turn("p", 100, prefix=("system", 80)), replicas) == 0
    replicas[0].num_running = 3
    assert send(rule, turn("q", 100, prefix=("system", 80)), replicas) == 0
    assert send(rule, turn("r", 100, prefix=("other", 80)), replicas) == 1
    rule.program_left("p")
    assert send(rule, turn("s", 100, prefix=("system", 80)), replicas) == 0


def test_prefix_aware_balances_first() -> None:
    rule, replicas = router("prefix-aware:balance_abs=3,balance_rel=2"), [Replica(0), Replica(1, num_running=2)]
    assert send(rule, turn("p", 100), replicas) == 0
    replicas[0].num_running, replicas[1].num_running = 9, 5
    assert send(rule, turn("p", 150, kept=110, home=0), replicas) == 0, "9 is not more than twice 5"
    replicas[1].num_running = 4
    assert send(rule, turn("p", 150, kept=110, home=0), replicas) == 1


def test_prefix_aware_by_events_sees_what_is_cached_now() -> None:
    one, other = Replica(0, cached={"p": 40}), Replica(1, cached={"p": 60}, num_running=9)
    assert send(router("prefix-aware:index=events"), turn("p", 100, kept=90, home=0), [one, other]) == 1
    other.cached.clear()
    assert send(router("prefix-aware:index=events"), turn("p", 100, kept=90, home=1), [one, other]) == 0


def test_saga_leaves_home_at_its_limit() -> None:
    rule, other = router("saga-placement"), Replica(1, free_blocks=30)
    assert send(rule, turn(home=0), [Replica(0, free_blocks=21), other]) == 0
    assert send(rule, turn(home=0), [Replica(0, free_blocks=20), other]) == 1
    assert send(rule, turn(home=1), [Replica(0, free_blocks=20), Replica(1, free_blocks=10)]) == 0
    assert send(rule, turn(), [Replica(0, open_programs=2), Replica(1, open_programs=1)]) == 1


def test_autellix_keeps_long_turns_together_and_spreads_short_ones() -> None:
    rule, replicas = router("autellix"), [Replica(0), Replica(1, num_running=1)]
    assert send(rule, turn("p", 2048), replicas) == 0
    assert send(rule, turn("p", 2049, home=0), replicas) == 0, "the first long turn finds the program a replica"
    replicas[0].num_running = 7
    assert send(rule, turn("p", 9000, home=0), replicas) == 0
    assert send(rule, turn("p", 500, home=0), replicas) == 1
    assert send(rule, turn("p", 9000, home=1), replicas) == 0
    assert send(rule, turn("p", 9000, home=0), replicas[1:]) == 1, "it does not fit there any more"
    assert send(rule, turn("p", 9000, home=1), replicas) == 1
    rule.program_left("p")
    replicas[1].num_running = 8
    assert send(rule, turn("p", 9000), replicas) == 0


def test_all_routers_of_the_issue_are_there() -> None:
    names = {"round-robin", "least-loaded", "session-affinity", "prefix-aware", "saga-placement", "autellix"}
    assert names <= ROUTINGS.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sesion-affinity", "unknown router 'sesion-affinity', did you mean 'session-affinity'"),
        ("session-affinity:queu=1", "unknown parameter 'queu' of routing session-affinity, did you mean 'queue'"),
        ("session-affinity:queue=-1", "queue is -1, expected a number of turns"),
        ("prefix-aware:index=guess", "index is 'guess', expected one of routed, events"),
        ("prefix-aware:match=1.5", "match is 1.5, expected a share"),
        ("prefix-aware:balance_abs=-1", "balance_abs is -1"),
        ("prefix-aware:balance_rel=0.5", "balance_rel is 0.5"),
        ("saga-placement:max_load=2", "max_load is 2.0, expected a share"),
        ("autellix:short_tokens=-1", "short_tokens is -1"),
    ],
)
def test_what_a_router_refuses(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_routing(text)
