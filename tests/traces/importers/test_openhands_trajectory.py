"""OpenHands trajectories (a list of events), and SWE-agent 1.0, whose prompts are under another name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from continuum_sim.traces import Program, TraceError, Turn, import_trace, read_programs
from continuum_sim.traces.importers import detect
from continuum_sim.traces.importers.head import head_of
from support.agent_logs import openhands, swe_agent
from support.logs import word_tokenizer
from support.session_logs import openhands_trajectory

Imported = Callable[..., list[Program]]


def test_openhands_trajectory(imported: Imported) -> None:
    assert detect(head_of(openhands_trajectory()))[0].name == "openhands"
    (program,) = imported("openhands", openhands_trajectory())
    assert program == Program(
        "output",
        (
            Turn(6000, 0, 200, "execute_bash", 1.5),
            # 150 of the 200 were reasoning that is not sent back. Its own counts: the growth of the sums.
            Turn(6300, 6000, 60, "human", 30.0),
            Turn(6500, 6360, 90, "think+execute_bash", 3.0),
            Turn(6700, 6590, 20),
        ),
        0.0,
    )


def test_reasoning_that_the_answer_shows_goes_back(imported: Imported) -> None:
    events = json.loads(openhands_trajectory())
    choices = [{"message": {"reasoning_content": "secret"}}]
    events[2]["tool_call_metadata"]["model_response"]["choices"] = choices
    (program,) = imported("openhands", json.dumps(events).encode())
    assert program.turns[1].kept_tokens == 6200


def test_events_without_counts_are_refused_by_name(imported: Imported) -> None:
    events = json.loads(openhands_trajectory())
    for event in events:
        event.pop("llm_metrics", None)
        event.get("tool_call_metadata", {}).get("model_response", {}).pop("usage", None)
    with pytest.raises(TraceError, match=r"no token counts in the events, expected .*OpenHands 0\.x"):
        imported("openhands", json.dumps(events).encode())


def test_output_rows_in_an_array_are_still_rows(imported: Imported) -> None:
    rows = [json.loads(openhands()), json.loads(openhands()) | {"instance_id": "repo__2"}]
    programs = imported("openhands", json.dumps(rows, indent=1).encode())
    assert [program.program_id for program in programs] == ["repo__1", "repo__2"]


def test_an_independent_reader_agrees(imported: Imported) -> None:
    sums = [event.get("llm_metrics") for event in json.loads(openhands_trajectory())]
    last = [one["accumulated_token_usage"] for one in sums if one][-1]
    (program,) = imported("openhands", openhands_trajectory())
    assert len(program.turns) == len({json.dumps(one) for one in sums if one})
    assert sum(turn.input_tokens for turn in program.turns) == last["prompt_tokens"]
    assert sum(turn.output_tokens for turn in program.turns) == last["completion_tokens"]


def test_swe_agent_1_0(imported: Imported) -> None:
    renamed = swe_agent().replace(b'"query"', b'"messages"')
    assert imported("swe-agent", renamed) == imported("swe-agent")


def test_the_case_of_openhands(tmp_path: Path, case: Callable[[str], Path]) -> None:
    import_trace([case("23-openhands-trajectory-json.json")], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert program.turns == (Turn(5800, 0, 300, "execute_bash", pytest.approx(0.7)), Turn(5950, 5800, 40))


def test_the_case_of_swe_agent(tmp_path: Path, case: Callable[[str], Path]) -> None:
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    source, tokenizer = case("29-swe-agent-1.0-messages.traj"), word_tokenizer(tmp_path)
    import_trace([source], tmp_path / "o.jsonl", tokenizer=tokenizer)
    (program,) = read_programs(tmp_path / "o.jsonl")
    # In words: system and user; then the response that both begin with, and the answer to it.
    assert [(t.input_tokens, t.kept_tokens, t.output_tokens, t.tool, t.tool_s) for t in program.turns] == [
        (7, 0, 5, "ls", 0.116),
        (14, 12, 4, None, 0.0),
    ]
