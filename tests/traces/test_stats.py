from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from continuum_sim.traces import LongestCall, Program, TraceError, Turn, find_trace, read_programs, trace_stats


def test_the_bundled_recording_has_the_figures_of_its_card() -> None:
    stats = trace_stats(read_programs(find_trace("swebench")))
    assert (stats.programs, stats.turns) == (100, 3680)
    assert stats.turns_per_program.mean == pytest.approx(36.8)
    assert round(stats.final_context_tokens.p50, -2) == 22_700
    assert (round(stats.tool_s.mean, 2), round(stats.tool_s.sd, 1)) == (0.63, 1.5)


def test_numbers_worked_by_hand() -> None:
    one = Program("one", (Turn(100, 0, 10, "ls", 1.0), Turn(200, 110, 20, "cat", 3.0), Turn(150, 60, 5)))
    two = Program("two", (Turn(50, 0, 15),), arrival_s=2.0)
    stats = trace_stats(iter([one, two]))
    assert (stats.programs, stats.turns, stats.programs_with_arrival) == (2, 4, 1)
    assert (stats.turns_per_program.mean, stats.turns_per_program.sd) == (2.0, 1.0)
    assert (stats.turns_per_program.min, stats.turns_per_program.max) == (1.0, 3.0)
    assert (stats.final_context_tokens.min, stats.final_context_tokens.max) == (65.0, 155.0)
    assert (stats.max_context_tokens.min, stats.max_context_tokens.max) == (65.0, 220.0)
    assert (stats.total_tokens_per_program.min, stats.total_tokens_per_program.max) == (65.0, 485.0)
    assert stats.input_tokens.mean == 125.0
    assert stats.new_tokens.mean == (100 + 90 + 90 + 50) / 4
    assert stats.output_tokens.p50 == 12.5
    assert stats.kept_share == pytest.approx(170 / 500)
    assert stats.broken_prefixes == 1
    assert stats.tool_s_total == 4.0
    assert stats.longest_gap == LongestCall("one", 1, "cat", 3.0)
    assert [(tool.tool, tool.calls, tool.total_s, tool.time_share) for tool in stats.tools] == [
        ("cat", 1, 3.0, 0.75),
        ("ls", 1, 1.0, 0.25),
    ]


def test_summaries_agree_with_numpy() -> None:
    stats = trace_stats(read_programs(find_trace("swebench")))
    outputs = [turn.output_tokens for p in read_programs(find_trace("swebench")) for turn in p.turns]
    summary = stats.output_tokens
    assert (summary.mean, summary.sd) == pytest.approx((np.mean(outputs), np.std(outputs)))
    assert (summary.p50, summary.p90, summary.p99) == tuple(np.percentile(outputs, [50, 90, 99]))


def test_slowest_tenth_is_of_calls_rounded_up() -> None:
    durations = [1.0] * 10 + [5.0]
    turns = tuple(Turn(10, 0, 1, "t", s) for s in durations)
    (tool,) = trace_stats([Program("p", (*turns, Turn(10, 0, 1)))]).tools
    assert tool.slowest_tenth_share == pytest.approx((5.0 + 1.0) / 15.0)  # two of eleven


@pytest.mark.parametrize("tool_s", [None, 0.0])
def test_a_trace_without_tool_time_divides_by_nothing(tool_s: float | None) -> None:
    turns = (Turn(10, 0, 1),) if tool_s is None else (Turn(10, 0, 1, "t", tool_s), Turn(10, 0, 1))
    stats = trace_stats([Program("p", turns)])
    assert stats.tool_s.mean == 0.0
    assert (stats.longest_gap is None) == (tool_s is None)
    assert [tool.time_share for tool in stats.tools] == ([] if tool_s is None else [0.0])


def test_no_programs_are_refused() -> None:
    with pytest.raises(TraceError, match="no program to describe"):
        trace_stats([])


def test_the_tool_table_is_a_frame_and_all_of_it_is_json(chat: Callable[..., Program]) -> None:
    stats = trace_stats([chat("a"), chat("b")])
    frame = stats.tool_frame()
    assert list(frame["tool"]) == ["ls"]
    assert frame.loc[0, "calls"] == 4
    assert frame.loc[0, "p50_s"] == 0.5
    restored: dict[str, Any] = json.loads(json.dumps(asdict(stats), allow_nan=False))
    assert restored["turns_per_program"]["mean"] == 3.0
    assert list(trace_stats([Program("p", (Turn(1, 0, 1),))]).tool_frame().columns) == list(frame.columns)
