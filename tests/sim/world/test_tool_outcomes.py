"""Outcomes of tool calls: drawn with the seed, the same for every policy, as frequent as asked for."""

from __future__ import annotations

import pickle

import pytest

import continuum_sim as cs
from continuum_sim.errors import ConfigError
from continuum_sim.results.summary import ToolCalls
from continuum_sim.setup.setting_types import PerToolSetting
from continuum_sim.traces.schema import Program, ToolCall, Turn
from continuum_sim.world.foresight import foresee
from continuum_sim.world.tools import CallPlan, ToolOutcomes, make_tool_config

TURN = Turn(10, 0, 1, "bash", 2.0)


def plans(config: dict[str, PerToolSetting], seed: int = 0, count: int = 400) -> list[CallPlan]:
    outcomes = ToolOutcomes(make_tool_config(**config), seed)
    return [outcomes.of_turn(f"p{k // 10}", k % 10, TURN)[0] for k in range(count)]


def test_the_same_seed_gives_the_same_failures_and_another_one_others() -> None:
    config: dict[str, PerToolSetting] = {"failure_rate": 0.3, "retries": 2}
    assert plans(config) == plans(config)
    assert plans(config) != plans(config, seed=1)


def test_failures_hang_on_nothing_but_seed_program_turn_and_call() -> None:
    outcomes = ToolOutcomes(make_tool_config(failure_rate=0.5, retries=3), 7)
    alone = outcomes.of_turn("p", 4, TURN)
    outcomes.of_turn("q", 0, TURN)
    assert outcomes.of_turn("p", 4, TURN) == alone
    several = Turn(10, 0, 1, "bash", 2.0, (ToolCall("bash", 2.0), ToolCall("bash", 2.0)))
    assert outcomes.of_turn("p", 4, several)[0] == alone[0]
    assert any(len(set(outcomes.of_turn("p", k, several))) == 2 for k in range(20))


def test_more_retries_and_rarer_failures_keep_what_went_well() -> None:
    few, many = plans({"failure_rate": 0.5, "retries": 1}), plans({"failure_rate": 0.5, "retries": 4})
    assert all(b.failures == a.failures for a, b in zip(few, many, strict=True) if not a.given_up)
    rare = plans({"failure_rate": 0.2, "retries": 4})
    assert all(b.failures <= a.failures for a, b in zip(many, rare, strict=True))


def test_failures_are_as_frequent_as_asked_for() -> None:
    rate, count = 0.3, 10_000
    drawn = plans({"failure_rate": rate, "retries": 1}, count=count)
    failed = sum(plan.failures > 0 for plan in drawn)
    given_up = sum(plan.given_up for plan in drawn)
    for found, expected in ((failed, rate), (given_up, rate**2)):
        sd = (count * expected * (1 - expected)) ** 0.5
        assert abs(found - count * expected) < 5 * sd
    assert sum(len(plan.tries_s) for plan in drawn) == count + failed


def test_a_timeout_comes_before_a_failure() -> None:
    (plan,) = ToolOutcomes(make_tool_config(timeout=1.5, failure_rate=1.0, retries=2)).of_turn("p", 0, TURN)
    assert plan == CallPlan("bash", (1.5, 1.5, 1.5), timeouts=3)
    assert plan.given_up


def test_a_gap_is_the_longest_of_its_calls_with_their_retries() -> None:
    several = Turn(10, 0, 1, "x", 3.0, (ToolCall("bash", 2.0), ToolCall("ls", 3.0)))
    outcomes = ToolOutcomes(make_tool_config(failure_rate="bash:1", retries=1))
    assert outcomes.gap_s("p", 0, several) == 4.0
    assert outcomes.gap_s("p", 1, Turn(10, 0, 1)) == 0.0
    known = foresee(Program("p", (several, Turn(20, 11, 1))), [4.0, 0.0])
    assert [after.gap_s for _, after in known] == [4.0, 0.0]


def test_settings_per_tool() -> None:
    config = make_tool_config(workers="bash:4, mcp:search:2,*:16", retries={"bash": 0})
    assert [config.workers.of(tool) for tool in ("bash", "mcp:search", "ls")] == [4, 2, 16]
    assert (config.retries.of("bash"), config.retries.of("ls")) == (0, 1)
    assert config.describe()["tool_workers"] == "bash:4,mcp:search:2,*:16"
    assert make_tool_config(timeout="bash:2.5", workers=3).describe() == {
        "tool_workers": "3",
        "tool_timeout": "bash:2.5",
        "tool_failure_rate": "0",
        "tool_retries": "1",
    }
    assert make_tool_config().describe()["tool_timeout"] is None
    assert pickle.loads(pickle.dumps(config)) == config
    assert make_tool_config(workers=16) == make_tool_config(workers="16") == make_tool_config(workers="*:16")
    assert make_tool_config(retries=9).plain


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"tool_workers": 0}, "tool_workers is 0, expected a whole number of at least 1"),
        ({"tool_workers": "bash:1.5"}, "tool_workers of tool 'bash' is '1.5', expected a whole number of at least 1"),
        ({"tool_workers": "bash:2,ls"}, "tool_workers 'bash:2,ls': 'ls' is not TOOL:NUMBER"),
        ({"tool_workers": "bash:2,bash:3"}, "tool_workers names tool 'bash' twice"),
        ({"tool_workers": True}, "tool_workers is True"),
        ({"tool_workers": ""}, "tool_workers is '', expected a whole number"),
        ({"tool_timeout": 0}, "tool_timeout is 0, expected seconds above 0"),
        ({"tool_timeout": "nan"}, "tool_timeout is 'nan', expected seconds above 0"),
        ({"tool_failure_rate": 1.1}, "tool_failure_rate is 1.1, expected a probability from 0 to 1"),
        ({"tool_failure_rate": {"ls": "often"}}, "tool_failure_rate of tool 'ls' is 'often', expected a probability"),
        ({"tool_retries": -1}, "tool_retries is -1, expected a whole number from 0 to 1000"),
        ({"tool_retries": 10**400}, "tool_retries is"),
    ],
)
def test_what_cannot_be_is_refused(setting: dict[str, PerToolSetting], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cs.run(limit=1, max_turns=2, **setting)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_every_policy_meets_the_same_failures() -> None:
    result = cs.compare(
        ["lru", "ttl", "program-fifo", "oracle-ttl"], [3], limit=8, max_turns=8, tool_failure_rate=0.2, tool_workers=2
    )
    totals = [summary.tools for summary in result.summaries if isinstance(summary.tools, ToolCalls)]
    assert len(totals) == 4
    assert {(total.calls, total.failures) for total in totals} == {(8 * 7, totals[0].failures)}
    assert totals[0].failures > 0
    row = result.rows[0]
    assert row.tool_wait_s > 0
    parts_s = row.queue_s + row.prefill_s + row.decode_s + row.tool_s + row.tool_wait_s + row.join_s
    assert parts_s == pytest.approx(row.jct_mean_s)
    assert any("nominal gap" in note for note in result.rows[3].notes)


def test_an_oracle_is_a_bound_as_long_as_nothing_waits() -> None:
    notes = cs.run(policy="oracle-ttl", arrivals="burst", limit=2, max_turns=3, tool_workers=2).summary.notes
    assert any("a bound, not a policy for a real engine" in note for note in notes)
