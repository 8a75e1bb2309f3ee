"""Clients that hang up, time out, are refused, send again and give up: worked out by hand, and both modes compared."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.traces.schema import Program, Turn
from continuum_sim.world.clients import ClientConfig, ClientDraws, ClientTotals
from support.compare import assert_same_runs
from support.invariants import InvariantObserver
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import affine, constant
from support.strategies import cases, engines, families, impatient, policies, tool_configs

Case = tuple[list[Program], EngineConfig]


def totals_of(outcome: Outcome) -> ClientTotals:
    assert outcome.simulation.clients is not None
    return outcome.simulation.clients.totals


def wait_s(name: str, index: int = 0, retry: int = 1) -> float:
    return ClientDraws(ClientConfig()).wait_s(name, index, retry)


# Time-outs and retries ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_turn_that_times_out_is_sent_again_and_finds_its_prompt(asynchronous: bool) -> None:
    """Eight tokens take 8 s, but its client waits for 5.5 s: the engine hears of it when the step under way ends.

    With asynchronous planning one more step is under way, which the second request waits for.
    """
    config = replace(engine(40, block_size=4), async_scheduling=asynchronous)
    agents = [program("a", turn(13, 8))]
    outcome = simulate(agents, config=config, clients=ClientConfig(request_timeout_s=5.5, retries=1))
    (record,) = outcome.programs
    assert totals_of(outcome).timed_out == 2
    assert not outcome.turns
    end_s = 12.0 if asynchronous else 12.0 + wait_s("a")
    assert (record.given_up, record.turns, record.finish_s) == (True, 0, pytest.approx(end_s))
    assert record.retry_s == record.jct_s
    admitted = [event.detail["cached_tokens"] for event in outcome.log if event.name == "admit"]
    assert admitted == [0, 12], "the second request finds the whole blocks of the first one's prompt"


def test_one_that_is_served_in_time_tells_how_long_it_took_to_get_there() -> None:
    """b waits behind a for 6 s, times out after 2 s, and is sent again once a is done."""
    agents = [program("a", turn(4, 6)), program("b", turn(4, 2))]
    config = engine(40, seqs=1)
    outcome = simulate(agents, config=config, clients=ClientConfig(request_timeout_s=6.5, retries=2))
    assert [record.requests for record in outcome.turns] == [1, 2]
    served = outcome.of("b")
    sent_s = 7.0 + wait_s("b")
    assert served.arrival_s == 0.0
    assert served.retry_s == pytest.approx(sent_s)
    assert served.scheduled_s == pytest.approx(sent_s)
    assert served.finish_s == pytest.approx(sent_s + 2)
    done = {record.program: record for record in outcome.programs}["b"]
    assert done.queue_s == pytest.approx(0.0)
    assert done.queue_s + done.prefill_s + done.decode_s + done.retry_s == pytest.approx(done.jct_s)


def test_a_turn_that_waits_and_times_out_takes_nothing() -> None:
    """b never gets the only seat: a, which leaves at last, is served as if b had not been there."""
    agents = [program("a", turn(4, 20)), program("b", turn(4, 1), at=1.0)]
    outcome = simulate(agents, config=engine(40, seqs=1), clients=ClientConfig(request_timeout_s=20.5, retries=0))
    assert outcome.of("a").finish_s == 20.0
    assert totals_of(outcome) == ClientTotals(timed_out=0)
    short = simulate(agents, config=engine(40, seqs=1), clients=ClientConfig(request_timeout_s=5.0, retries=0))
    assert [record.given_up for record in short.programs] == [True, True]
    assert totals_of(short).timed_out == totals_of(short).given_up == 2
    assert totals_of(short).lost_tokens == (4 + 4) + 4, "of a the prompt and four more, of b the prompt"


def test_waits_double_up_to_eight_seconds_less_a_quarter() -> None:
    draws = ClientDraws(ClientConfig(), seed=3)
    for retry, longest_s in enumerate((0.5, 1.0, 2.0, 4.0, 8.0, 8.0), start=1):
        waits = [draws.wait_s(f"p{number}", 0, retry) for number in range(50)]
        assert all(0.75 * longest_s < one <= longest_s for one in waits)
        assert len(set(waits)) == 50


def test_a_job_that_takes_too_long_is_given_up_wherever_it_is() -> None:
    agents = [program("in a tool", turn(4, 2, gap=9.0), turn(8, 1)), program("in a turn", turn(4, 9))]
    outcome = simulate(agents, config=engine(40), clients=ClientConfig(job_timeout_s=6.5))
    ends = {record.program: (record.given_up, record.finish_s) for record in outcome.programs}
    assert ends == {"in a tool": (True, 6.5), "in a turn": (True, 6.5)}
    assert {record.program: record.tool_s for record in outcome.programs}["in a tool"] == 4.5


# Clients that hang up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_client_that_hangs_up_is_heard_of_in_the_next_step(asynchronous: bool) -> None:
    """With asynchronous planning one more step is under way, which computes a token in vain."""
    agents = [program("a", turn(6, 9, gap=3.0), turn(18, 2))]
    clients = ClientConfig(abort_rate=1.0)
    config = replace(engine(40), async_scheduling=asynchronous)
    outcome = simulate(agents, config=config, clients=clients)
    wanted = ClientDraws(clients).wanted_tokens("a", 0, agents[0].turns[0])
    record = outcome.of("a")
    assert (record.aborted, record.output_tokens, record.finish_s) == (True, wanted, wanted + 1)
    assert record.computed_tokens == 6 + wanted + asynchronous
    after = outcome.of("a", 1)
    assert after.arrival_s == record.finish_s + 3.0, "its program goes on"
    assert after.cached_tokens <= 6 + wanted, "but the next prompt has no more of the answer than was streamed"
    assert totals_of(outcome).aborted == 2


def test_what_clients_do_depends_on_neither_policy_nor_other_programs() -> None:
    clients = ClientDraws(ClientConfig(abort_rate=0.3), seed=1)
    asked = Turn(10, 0, 40)
    wanted = [clients.wanted_tokens(f"p{number}", 0, asked) for number in range(2000)]
    hung_up = [tokens for tokens in wanted if tokens]
    assert len(hung_up) / 2000 == pytest.approx(0.3, abs=0.05)
    assert (min(hung_up), max(hung_up)) == (1, 39)
    assert wanted[7] == ClientDraws(ClientConfig(abort_rate=0.3), seed=1).wanted_tokens("p7", 0, asked)
    assert clients.wanted_tokens("p", 0, Turn(10, 0, 1)) == 0, "an answer of one token comes at once"


def test_a_pin_of_a_program_that_was_given_up_outlives_it() -> None:
    """Nobody tells the engine: the pin holds as long as its rule says, here until the program counts as ended."""
    agents = [program("a", turn(8, 2, gap=50.0), turn(12, 1)), program("b", turn(4, 1), at=3000.0)]
    agents.append(program("c", turn(4, 1), at=3700.0))
    clients = ClientConfig(job_timeout_s=10.0)
    outcome = simulate(agents, "pin-forever:pressure=head", config=engine(40), clients=clients)
    pinned = {stretch.start_s: stretch.pinned_blocks for stretch in outcome.stretches if stretch.steps}
    assert pinned[3000.0] > 0
    assert pinned[3700.0] == 0
    assert [event.time_s for event in outcome.log if event.name == "forget"] == [pytest.approx(10.0 + 3600.0)]


# The API server's limits ----------------------------------------------------------------------------------------------


def test_a_server_refuses_what_exceeds_its_queue() -> None:
    agents = [program(name, turn(4, 9)) for name in "abc"]
    config = replace(engine(40), max_num_queued_reqs=2)
    outcome = simulate(agents, config=config, clients=ClientConfig(retries=1))
    given_up = {record.program: record.given_up for record in outcome.programs}
    assert given_up == {"a": False, "b": False, "c": True}
    assert totals_of(outcome) == ClientTotals(refused=2, retries=1, given_up=1)
    patient = simulate(agents, config=config, clients=ClientConfig(retries=9))
    assert totals_of(patient).given_up == 0
    served = patient.of("c")
    assert served.requests == totals_of(patient).retries + 1 == totals_of(patient).refused + 1
    assert served.scheduled_s >= 9.0


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_server_counts_whole_prompts_until_their_first_tokens(stepwise: bool) -> None:
    """Two prompts of 30 tokens take 8 tokens a step: until the first has its token, 30 or 60 tokens are queued."""
    agents = [program("a", turn(30, 9)), program("b", turn(30, 9), at=1.5), program("c", turn(4, 1), at=5.5)]
    config = replace(engine(80, budget=8), max_num_queued_tokens=31)
    outcome = simulate(agents, config=config, clients=ClientConfig(retries=0), stepwise=stepwise)
    assert totals_of(outcome).refused == 0, "a has its token after 4 s, so that 30 tokens are queued when c comes"
    early = [agents[0], agents[1], program("c", turn(4, 1), at=3.5)]
    assert totals_of(simulate(early, config=config, clients=ClientConfig(retries=0), stepwise=stepwise)).refused == 1


# Both modes -----------------------------------------------------------------------------------------------------------


def check(case: Case, policy: str, clients: ClientConfig, more: object = None) -> None:
    programs, config = case
    runs = []
    for stepwise in (True, False):
        observer = InvariantObserver(config)
        outcome = simulate(
            programs,
            policy,
            config=config,
            step_time=affine(),
            stepwise=stepwise,
            observer=observer,
            clients=clients,
            tools=more,  # type: ignore[arg-type]
        )
        assert not observer.tokens, "no turn is left in the batch"
        for record in outcome.programs:
            parts_s = record.queue_s + record.prefill_s + record.decode_s + record.preempted_s + record.retry_s
            parts_s += record.tool_s + record.tool_wait_s + record.join_s
            assert parts_s == pytest.approx(record.jct_s, rel=1e-9, abs=1e-9)
        runs.append(outcome)
    assert_same_runs(*runs, answered=False)
    assert [run.simulation.clients is None for run in runs] == [runs[0].simulation.clients is None] * 2
    if runs[0].simulation.clients is not None:
        assert totals_of(runs[0]) == totals_of(runs[1])


@settings(max_examples=25)
@given(case=cases(), policy=policies, data=st.data())
def test_jumps_and_steps_agree_where_clients_leave(case: Case, policy: str, data: st.DataObject) -> None:
    clients, config = data.draw(impatient(case[1]))
    check((case[0], config), policy, clients)


eighths = st.integers(0, 24).map(lambda k: k / 8)


@settings(max_examples=12)
@given(case=cases(gaps=eighths, arrivals=eighths), policy=policies, data=st.data())
def test_jumps_and_steps_agree_where_everything_coincides(case: Case, policy: str, data: st.DataObject) -> None:
    """Time-outs fall on the ends of steps."""
    clients, config = data.draw(impatient(case[1]))
    clients = replace(clients, request_timeout_s=data.draw(st.sampled_from([0.25, 1.0, math.inf])))
    runs = [
        simulate(case[0], policy, config=config, step_time=constant(0.125), stepwise=stepwise, clients=clients)
        for stepwise in (True, False)
    ]
    assert_same_runs(*runs, answered=False)


@settings(max_examples=8)
@given(data=st.data())
def test_jumps_and_steps_agree_for_families_and_tools(data: st.DataObject) -> None:
    programs = data.draw(families(eighths, eighths))
    clients, config = data.draw(impatient(data.draw(engines(programs))))
    policy = data.draw(st.sampled_from(["lru", "ttl", "session-gate:limit=2"]))
    check((programs, config), policy, clients, data.draw(st.none() | tool_configs()))
