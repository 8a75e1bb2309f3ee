"""The way between client and engine: part of TTFT and JCT, and of the gaps that an engine sees."""

from __future__ import annotations

from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.traces.schema import Program, Turn
from support.steptimes import constant

STEP_S = 0.01
BASE: dict[str, Any] = {"policy": "lru", "kv_blocks": 200, "step_time": constant(STEP_S), "async_scheduling": False}


def program(name: str = "a", at_s: float = 0.0) -> Program:
    return Program(name, (Turn(40, 0, 3, "ls", 0.5), Turn(60, 43, 2)), at_s)


def test_every_turn_is_on_its_way_twice() -> None:
    # Steps of 10 ms: 3 and 2 of them, 0.5 s of a tool, and 0.2 s on the way for each of the two turns.
    result = cs.run([program()], arrivals="trace", client_delay=0.2, **BASE)
    one = result.programs.iloc[0]
    assert one.jct_s == pytest.approx(5 * STEP_S + 0.5 + 2 * 0.2)
    first, second = result.turns.sort_values("arrival_s").itertuples()
    assert (first.arrival_s, second.arrival_s) == pytest.approx((0.0, 0.2 + 3 * STEP_S + 0.5))
    assert first.first_token_s == pytest.approx(0.2 + STEP_S)
    assert first.scheduled_s == pytest.approx(0.1)
    assert first.finish_s == pytest.approx(0.2 + 3 * STEP_S)
    assert one.alone_s == pytest.approx(one.jct_s, abs=0)
    assert one.queue_s + one.prefill_s + one.decode_s + one.tool_s == pytest.approx(one.jct_s)


@pytest.mark.parametrize("engine", ["fast", "stepwise"])
def test_both_engines_and_a_closed_load_agree(engine: str) -> None:
    programs = [program(str(n)) for n in range(4)]
    result = cs.run(programs, arrivals="closed:workers=1", client_delay=0.2, engine=engine, **BASE)
    jct_s = 5 * STEP_S + 0.5 + 2 * 0.2
    assert result.programs.sort_values("arrival_s").arrival_s.to_list() == pytest.approx([n * jct_s for n in range(4)])


def test_a_time_out_is_the_clients() -> None:
    # The answer is complete at the engine after 0.13 s and at the client after 0.23 s.
    programs = [program(), Program("short", (Turn(40, 0, 1),), 5.0)]
    late = cs.run(programs, arrivals="trace", client_delay=0.2, request_timeout=0.22, retry=0, **BASE)
    assert late.summary.clients.timed_out == 1
    assert late.programs.set_index("program").jct_s.to_list() == pytest.approx([0.22, 0.21])
    kept = cs.run([program()], arrivals="trace", client_delay=0.2, request_timeout=0.24, retry=0, **BASE)
    assert kept.programs.iloc[0].jct_s == pytest.approx(5 * STEP_S + 0.5 + 0.4)


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_answer_that_comes_too_late_is_asked_for_again(replicas: int) -> None:
    # A prompt of two steps is answered at the client after 0.22 s, which has left by then; after half a second less up
    # to a quarter it sends it again, and finds the first two of its blocks.
    once = Program("once", (Turn(40, 0, 1),), 0.0)
    settings = {**BASE, "replicas": replicas, "max_num_batched_tokens": 32, "client_delay": 0.2}
    late = cs.run([once], arrivals="trace", request_timeout=0.215, retry=1, **settings)
    assert (late.summary.clients.timed_out, late.summary.clients.given_up) == (1, 0)
    assert late.turns.iloc[0].cached_tokens == 32
    assert 0.215 + 0.375 + 0.21 <= late.programs.iloc[0].jct_s <= 0.215 + 0.5 + 0.21


def test_nobody_forgets_a_program_that_the_engine_completed() -> None:
    programs = [Program("late", (Turn(40, 0, 2),), 0.0), Program("short", (Turn(10, 0, 1),), 1.0)]
    late = cs.run(programs, arrivals="trace", client_delay=0.2, request_timeout=0.215, retry=0, **BASE)
    assert late.summary.clients.given_up == 1
    assert late.programs.set_index("program").jct_s.to_dict() == pytest.approx({"late": 0.215, "short": 0.21})


def test_all_parts_of_a_patient_program_add_up() -> None:
    one = cs.run([program()], arrivals="trace", client_delay=0.2, request_timeout=9, **BASE).programs.iloc[0]
    assert one.queue_s + one.prefill_s + one.decode_s + one.tool_s + one.retry_s == pytest.approx(one.jct_s)
    assert one.jct_s == pytest.approx(5 * STEP_S + 0.5 + 0.4)


def test_it_works_with_host_memory() -> None:
    lone = cs.run([program()], arrivals="trace", client_delay=0.2, dram_gb=1, **BASE)
    assert lone.programs.iloc[0].jct_s == pytest.approx(5 * STEP_S + 0.5 + 0.4, rel=0.05)


def test_a_refusal_is_heard_after_the_way_back() -> None:
    refused = cs.run(
        [program("a"), program("b", 0.01)],
        arrivals="trace",
        client_delay=0.2,
        max_num_queued_reqs=1,
        retry=0,
        **BASE,
    )
    assert refused.summary.clients.given_up == 1
    assert refused.programs.set_index("program").loc["b"].jct_s == pytest.approx(0.2)


def test_it_is_no_less_than_nothing() -> None:
    with pytest.raises(cs.ConfigError, match="client_delay is -1, expected 0 or more seconds"):
        cs.run([program()], arrivals="trace", client_delay=-1, **BASE)
