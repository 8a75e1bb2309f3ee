"""Answers in every shape in which servers and loggers write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Program, Turn, import_trace, read_programs
from support.agent_logs import T0, lines
from support.logs import word_tokenizer
from support.request_tables import litellm_payload

Imported = Callable[..., list[Program]]
CASES = Path(__file__).parents[4] / "shared" / "cases" / "traces"
GO = {"role": "user", "content": "go"}


def call(at: float, request: Any, response: Any, **more: Any) -> dict[str, Any]:
    return {"start_time": T0 + at, "end_time": T0 + at + 1, "request": request, "response": response, **more}


def chat(prompt: int, output: int, *names: str) -> dict[str, Any]:
    calls = [{"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    return {
        "id": "r",
        "choices": [{"message": {"role": "assistant", "tool_calls": calls}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": output},
    }


def responses(prompt: int, output: int, *items: Any, reasoning: int = 0, id: str = "resp_1") -> dict[str, Any]:
    details = {"reasoning_tokens": reasoning}
    counts = {"input_tokens": prompt, "output_tokens": output, "output_tokens_details": details}
    return {"id": id, "object": "response", "output": list(items), "usage": counts}


def anthropic(fresh: int, made: int, read: int, output: int, *names: str) -> dict[str, Any]:
    blocks = [{"type": "text", "text": "x"}, *({"type": "tool_use", "name": name, "input": {}} for name in names)]
    counts = {
        "input_tokens": fresh,
        "cache_creation_input_tokens": made,
        "cache_read_input_tokens": read,
        "output_tokens": output,
    }
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": blocks, "usage": counts}


def tools_of(imported: Imported, response: Any, prompt: int = 100, output: int = 10) -> Program:
    last = call(3, {"messages": [GO]}, chat(prompt + 500, 5), session_id="s")
    (program,) = imported("openai-log", lines(call(0, {"messages": [GO]}, response, session_id="s"), last))
    assert (program.turns[0].input_tokens, program.turns[0].output_tokens) == (prompt, output)
    assert program.turns[0].tool_s == 2.0
    return program


def test_items_of_a_response(imported: Imported) -> None:
    items = [
        {"type": "reasoning", "summary": []},
        {"type": "web_search_call", "status": "completed"},
        {"type": "function_call", "name": "shell", "arguments": "{}"},
        {"type": "custom_tool_call", "name": "apply_patch", "input": "x"},
        {"type": "local_shell_call", "action": {}},
    ]
    program = tools_of(imported, responses(100, 10, *items))
    assert program.turns[0].tool == "shell+apply_patch+local_shell"


@pytest.mark.parametrize(("encrypted", "kept"), [(None, 100), ("gAAAA", 110)])
def test_reasoning_of_a_response(imported: Imported, encrypted: str | None, kept: int) -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": encrypted}
    assert tools_of(imported, responses(100, 10, item, reasoning=4)).turns[1].kept_tokens == kept


def test_responses_that_name_the_one_before(imported: Imported) -> None:
    rows = [
        call(0, {"input": "go"}, responses(100, 10, id="resp_a")),
        call(1, {"input": "else"}, responses(90, 10, id="resp_b")),
        call(4, {"input": [GO], "previous_response_id": "resp_a"}, responses(150, 5, id="resp_c")),
        call(9, {"input": "more", "previous_response_id": "resp_c"}, responses(170, 5, id="resp_d")),
    ]
    first, other = imported("openai-log", lines(*rows))
    assert [turn.input_tokens for turn in first.turns] == [100, 150, 170]
    assert [turn.input_tokens for turn in other.turns] == [90]


def test_anthropic_messages(imported: Imported) -> None:
    assert tools_of(imported, anthropic(10, 30, 60, 10, "Bash", "Read")).turns[0].tool == "Bash+Read"


def test_anthropic_conversations_whose_cache_mark_moves_on(imported: Imported) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    first = [{"role": "user", "content": [{"type": "text", "text": "go", **mark}]}]
    then = [
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "Bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "x", **mark}]},
    ]
    other = [{"role": "user", "content": [{"type": "text", "text": "else", **mark}]}]
    rows = [
        call(at, {"system": "be brief", "messages": m}, anthropic(9, 0, 90, 10)) for at, m in ((0, first), (3, then))
    ]
    _, program = sorted(
        imported("openai-log", lines(*rows, call(5, {"messages": other}, anthropic(9, 0, 0, 1)))), key=len_
    )
    assert len(program.turns) == 2


def len_(program: Program) -> int:
    return len(program.turns)


def chat_chunks() -> list[dict[str, Any]]:
    def piece(**delta: Any) -> dict[str, Any]:
        return {"id": "r", "object": "chat.completion.chunk", "created": int(T0), "choices": [{"delta": delta}]}

    return [
        piece(role="assistant"),
        piece(tool_calls=[{"index": 0, "function": {"name": "grep", "arguments": ""}}]),
        piece(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
        {"id": "r", "choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10}},
    ]


def message_events() -> list[dict[str, Any]]:
    return [
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 40, "cache_read_input_tokens": 60}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "grep"}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    "pieces",
    [
        chat_chunks(),
        message_events(),
        [
            {"type": "response.created", "response": responses(1, 1)},
            {"type": "response.completed", "response": responses(100, 10, {"type": "function_call", "name": "grep"})},
        ],
    ],
    ids=["chat", "messages", "responses"],
)
def test_streamed_answers(imported: Imported, pieces: list[Any], as_text: bool) -> None:
    text = "".join(f"event: x\ndata: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
    assert tools_of(imported, text if as_text else pieces).turns[0].tool == "grep"


def test_an_answer_as_text(imported: Imported) -> None:
    assert tools_of(imported, json.dumps(chat(100, 10, "ls"))).turns[0].tool == "ls"


@pytest.mark.parametrize("logged", [True, False])
def test_litellm_payload(imported: Imported, tmp_path: Path, logged: bool) -> None:
    (tmp_path / "calls.jsonl").write_bytes(litellm_payload(response=logged))
    made = import_trace([tmp_path / "calls.jsonl"], tmp_path / "out.jsonl")
    assert (made.format, made.sure) == ("openai-log", 0.9)
    (program,) = read_programs(tmp_path / "out.jsonl")
    assert program.program_id == "tr-9"
    assert program.arrival_s == 0.0
    assert program.turns == (Turn(700, 0, 30, "grep" if logged else "client", 7.0), Turn(800, 730, 40))
    assert made.header.notes == {
        "calls that failed, left out": 1,
        "requests that generate nothing (embeddings), left out": 1,
    }
    assert b"private" not in (tmp_path / "out.jsonl").read_bytes()


def test_times_in_other_units(imported: Imported) -> None:
    def at(unit: float) -> list[Turn]:
        row = {"request": {"messages": [GO]}, "session_id": "s"}
        rows = [
            {
                **row,
                "start_time": round((T0 + s) * unit),
                "end_time": round((T0 + s + 1) * unit),
                "response": chat(9, 1),
            }
            for s in (0, 5)
        ]
        (program,) = imported("openai-log", lines(*rows))
        return list(program.turns)

    assert at(1)[0].tool_s == 4.0
    assert at(1e3) == at(1e6) == at(1e9) == at(1)


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
@pytest.mark.parametrize(
    ("case", "kept"),
    [("11-openai-log-responses-api.jsonl", [0, 1000, 1200]), ("13-litellm-payload-times.jsonl", [0, 1060, 1260])],
)
def test_cases(tmp_path: Path, case: str, kept: list[int]) -> None:
    made = import_trace([CASES / case], tmp_path / "o.jsonl", tokenizer=None)
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert program.arrival_s == 0.0
    assert [turn.kept_tokens for turn in program.turns] == kept
    assert [(turn.tool, turn.tool_s) for turn in program.turns] == [("shell", 16.0), ("shell", 16.0), (None, 0.0)]
    assert made.header.notes == {}


def test_instructions_are_a_system_prompt(imported: Imported, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    row = call(0, {"instructions": "you are terse", "input": "go"}, responses(100, 10))
    (program,) = imported("openai-log", lines(row), tokenizer=word_tokenizer(tmp_path))
    assert program.shared_prefix is not None
    assert program.shared_prefix.tokens == 4  # system you are terse
