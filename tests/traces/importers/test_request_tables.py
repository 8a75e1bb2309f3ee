"""Imported tables of requests, and servers' logs without answers, computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Child, Program, TraceError, Turn, import_trace, read_programs
from support.agent_logs import lines
from support.cli import refused
from support.logs import SAMPLES, word_tokenizer
from support.request_tables import aiperf_records, azure, burstgpt, litellm_spend, lmcache

Imported = Callable[..., list[Program]]
CASES = Path(__file__).parents[4] / "shared" / "cases" / "traces"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")


def notes(folder: Path, name: str, content: bytes, **options: Any) -> dict[str, int]:
    (folder / name).write_bytes(content)
    return dict(import_trace([folder / name], folder / "o.jsonl", **options).header.notes)


def test_litellm_spend(imported: Imported, tmp_path: Path) -> None:
    session, single = imported("litellm-spend")
    assert session == Program("s-1", (Turn(600, 0, 20, "client", 5.25), Turn(900, 620, 40)), 0.0)
    assert single == Program("spend-chatcmpl-3", (Turn(50, 0, 5),), 2.0)
    cached = {"calls answered from the proxy's own cache, left out": 1}
    assert notes(tmp_path, "spend.json", litellm_spend()) == cached


def test_litellm_spend_as_a_page_and_as_lines(imported: Imported) -> None:
    rows = json.loads(litellm_spend())
    programs = imported("litellm-spend")
    assert imported("litellm-spend", lines(*rows)) == programs
    assert imported("litellm-spend", json.dumps({"data": rows, "total": 4, "page": 1}, indent=2).encode()) == programs


def test_litellm_spend_with_stored_responses_and_reasoning(imported: Imported) -> None:
    rows = [row for row in json.loads(litellm_spend()) if row.get("session_id")]
    made = {"role": "assistant", "tool_calls": [{"function": {"name": "ls"}}]}
    for row in rows:
        row["response"] = json.dumps({"choices": [{"message": made}]})
        row["metadata"] = json.dumps({"usage_object": {"completion_tokens_details": {"reasoning_tokens": 9}}})
    (program,) = imported("litellm-spend", lines(*rows))
    assert program.turns == (Turn(600, 0, 20, "ls", 5.25), Turn(900, 600, 40))


def test_azure(imported: Imported, tmp_path: Path) -> None:
    assert imported("azure-llm") == [
        Program("azure-1", (Turn(2162, 0, 5),), 0.0),
        Program("azure-2", (Turn(12, 0, 1),), 0.05),
        Program("azure-3", (Turn(800, 0, 71),), 3.0),
    ]
    assert notes(tmp_path, "azure.csv", azure()) == {"turns without output, taken as 1 token": 1}


def test_burstgpt(imported: Imported, tmp_path: Path) -> None:
    session, single = imported("burstgpt")
    assert session == Program("aa", (Turn(300, 0, 60, "human", 27.5), Turn(420, 360, 30)), 0.0)
    assert single == Program("burst-2", (Turn(40, 0, 9),), 3.0)
    assert notes(tmp_path, "burst.csv", burstgpt()) == {"calls that failed, left out": 1}


def test_burstgpt_of_the_first_version(imported: Imported) -> None:
    rows = (
        b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
    )
    assert imported("burstgpt", rows) == [Program("burst-1", (Turn(472, 0, 18),), 0.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"TIMESTAMP,ContextTokens\n", r"azure\.csv:1: the first line has no column 'GeneratedTokens'"),
        (azure() + b"2024-05-10 00:00:09+00:00,x,5\n", r'azure\.csv:5: ContextTokens is "x", expected a number'),
        (azure() + b"2024-05-10 00:00:09+00:00,5\n", r"azure\.csv:5: 2 values in the line, expected 3"),
    ],
)
def test_tables_that_are_bad(imported: Imported, content: bytes, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        imported("azure-llm", content)


def test_lmcache(imported: Imported, tmp_path: Path) -> None:
    agent, user, other = imported("lmcache")
    # Three words of prompt and three of answer, which recur; the simulated user has its own prompts.
    assert agent == Program("s", (Turn(3, 0, 3, "client", 5.0), Turn(10, 6, 1)), 0.0)
    assert user == Program("s/2", (Turn(4, 0, 3, "client", 4.5), Turn(9, 7, 2)), 2.5)
    assert other == Program("t", (Turn(3, 0, 1),), 9.0)
    word_tokenizer(tmp_path)
    found = notes(tmp_path, "trace.jsonl", lmcache(), tokenizer=tmp_path)
    assert found["sessions with several conversations, a program for each"] == 1


def test_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "burst.csv").write_bytes(burstgpt())
    import_trace([tmp_path / "one", tmp_path / "other"], tmp_path / "o.jsonl")
    programs = list(read_programs(tmp_path / "o.jsonl"))
    # The session continues in the other file; requests without a session do not.
    assert sorted(one.program_id for one in programs) == ["aa", "burst#2-2", "burst-2"]


def test_lmcache_prompts_that_begin_alike_are_not_one_conversation(imported: Imported) -> None:
    rows = [
        {"timestamp": at, "input": text, "output": "d", "session_id": "s"}
        for at, text in enumerate(["you are an agent", "you look", "you are terse and done", "you look at it"])
    ]
    programs = imported("lmcache", lines(*rows))
    # Two of four words in common: the second prompt was truncated and continues the first.
    assert [[(t.input_tokens, t.kept_tokens) for t in one.turns] for one in programs] == [
        [(4, 0), (5, 2)],
        [(2, 0), (4, 2)],
    ]


def test_lmcache_with_counts_of_its_own(imported: Imported) -> None:
    rows = [
        {"timestamp": 100.0, "end_time": 103.5, "input": "a" * 40, "output": "b" * 20, "session_id": "s"},
        {
            "timestamp": 109.0,
            "end_time": 110.0,
            "input": "a" * 40 + "b" * 20 + "c" * 20,
            "output": "d",
            "session_id": "s",
        },
    ]
    counts = [{"input_tokens": 10, "output_tokens": 5}, {"input_tokens": 20, "output_tokens": 1}]
    content = lines(*(row | count for row, count in zip(rows, counts, strict=True)))
    (program,) = imported("lmcache", content, tokenizer=None)
    assert program.turns == (Turn(10, 0, 5, "client", 5.5), Turn(20, 15, 1))


def test_aiperf_records(imported: Imported, tmp_path: Path) -> None:
    first, second = imported("aiperf-records")
    # Before the turn that waits for the sub-agent, the time of the session's own tools is unknown.
    assert first.turns == (Turn(1000, 0, 50, "delay", 0.0), Turn(1200, 1050, 40, "delay", 1.5), Turn(1400, 1240, 30))
    assert first.arrival_s == 0.0
    assert first.children == (Child(Program("A/A/x", (Turn(200, 0, 10),)), 0, 1),)
    assert second == Program("B", (Turn(90, 0, 4),), 9.25)
    assert notes(tmp_path, "profile_export.jsonl", aiperf_records()) == {
        "calls that failed, left out": 1,
        "requests of the warm-up, before the measured window": 1,
    }


def test_aiperf_records_by_what_the_server_counted(imported: Imported) -> None:
    rows = [json.loads(line) for line in aiperf_records().splitlines()]
    rows[0]["metrics"]["usage_prompt_tokens"] = {"value": 1010, "unit": "tokens"}
    assert imported("aiperf-records", lines(*rows))[0].turns[0].input_tokens == 1010


HEAD = "INFO 11-02 09:00:{second:02d} [logger.py:43] "


def received(second: int, name: str, prompt: object, ids: object = None) -> str:
    return (
        f"{HEAD.format(second=second)}Received request {name}: prompt: {prompt!r}, params: SamplingParams(n=1), "
        f"prompt_token_ids: {ids}, prompt_embeds shape: None, lora_request: None.\n"
    )


def test_answers_in_the_prompts_that_follow(imported: Imported, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    first = " you are terse <|assistant|> "
    second = first + "look at it <|user|> and <|assistant|> "
    text = received(1, "a", first) + received(3, "z", "what is it") + received(9, "b", second)
    (program,) = imported("vllm-log", text.encode(), tokenizer=word_tokenizer(tmp_path))
    assert program.turns == (Turn(4, 0, 3, "client", 8.0), Turn(10, 7, 1))
    assert notes(tmp_path, "server.log", text.encode(), tokenizer=tmp_path) == {
        "answers that are not logged, taken from the prompt that follows": 1,
        "turns whose answer is not in the log, taken as 1 token": 1,
        "gaps between starts, the time for the request itself included (no response)": 1,
        "requests without a logged response, left out": 1,
    }


def test_ids_of_answers_in_the_prompts_that_follow(imported: Imported) -> None:
    text = received(1, "a", "hi<|eot|>", [1, 2]) + received(
        5, "b", "hi<|eot|>abcd<|eot|>abcd", [1, 2, 3, 4, 5, 6, 7, 8]
    )
    (program,) = imported("vllm-log", text.encode())
    # Four characters of fifteen, so two of six tokens.
    assert program.turns == (Turn(2, 0, 2, "client", 4.0), Turn(8, 4, 1))


def test_ids_of_streamed_answers(imported: Imported) -> None:
    text = received(1, "a", "hi", [1, 2])
    for ids in ([3], [4, 5]):
        text += (
            HEAD.format(second=2) + f"Generated response a (streaming delta): output: 'x', output_token_ids: {ids}, "
        )
        text += "finish_reason: None\n"
    text += HEAD.format(second=3) + "Generated response a (streaming complete): output: 'xx', output_token_ids: None, "
    (program,) = imported("vllm-log", (text + "finish_reason: streaming_complete\n").encode())
    assert program.turns == (Turn(2, 0, 3),)


def test_the_oldest_logs(imported: Imported) -> None:
    text = (
        "INFO 03-20 21:42:25 async_llm_engine.py:379] Received request cmpl-1: prompt: 'hi', prefix_pos: None,"
        "sampling params: SamplingParams(n=1), prompt token ids: [1, 2, 3].\n"
        "INFO 03-20 21:42:26 logger.py:71] Generated response cmpl-1: output: 'x', output_token_ids: [4]\n"
    )
    assert imported("vllm-log", text.encode())[0].turns == (Turn(3, 0, 1),)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (
            received(1, "a", "hi", [1, 2]) + received(2, "b", "he", [1, 3]),
            "2 requests, none with a logged response: run the server with --enable-log-outputs",
        ),
        (
            HEAD.format(second=1) + "Received request a: params: SamplingParams(n=1), lora_request: None.\n",
            "1 request logged without prompts: run the server with VLLM_LOGGING_LEVEL=DEBUG",
        ),
        (
            "INFO 11-02 [api_server.py:1] vLLM API server version 0.15.0\n",
            "no request is logged in it: run the server ",
        ),
        (received(1, "a", "hi"), "1: the line has text and no token ids: say what counts them with --tokenizer DIR"),
    ],
)
def test_logs_of_which_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, message: str
) -> None:
    (tmp_path / "vllm.log").write_text(log)
    said = refused(capsys, "trace", "import", tmp_path / "vllm.log", "-o", tmp_path / "o.jsonl")
    assert "vllm.log:" in said
    assert message in said


@needs_cases
def test_cases(tmp_path: Path) -> None:
    def programs(case: str, **options: Any) -> list[Program]:
        import_trace([CASES / case], tmp_path / "o.jsonl", **options)
        return list(read_programs(tmp_path / "o.jsonl"))

    (spend,) = programs("51-litellm-spend-logs.json")
    assert spend.program_id == "sess-1"
    assert spend.turns == (
        Turn(1000, 0, 60, "client", 16.0),
        Turn(1200, 1060, 60, "client", 16.0),
        Turn(1400, 1260, 60),
    )
    tables = programs("53-azure-llm-trace-csv.csv")
    assert [(one.arrival_s, one.turns) for one in tables] == [
        (0.0, (Turn(4808, 0, 10),)),
        (4.314579, (Turn(3180, 0, 8),)),
    ]
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    tokenizer = word_tokenizer(tmp_path)
    first, other = programs("50-lmcache-agent-trace.jsonl", tokenizer=tokenizer)
    assert [(one.program_id, one.arrival_s, len(one.turns)) for one in (first, other)] == [
        ("a1", 0.0, 2),
        ("b2", 2.0, 1),
    ]
    assert first.turns[0].tool_s == 5.0
    (log,) = programs("20-vllm-log-without-outputs.log", tokenizer=tokenizer)
    assert [turn.tool_s for turn in log.turns] == [8.0, 0.0]


@needs_cases
def test_the_case_without_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "trace", "import", CASES / "20-vllm-log-without-outputs.log", "-o", tmp_path / "o.jsonl")
    assert "20-vllm-log-without-outputs.log:2: the line has text and no token ids: say what counts them" in said


@pytest.mark.parametrize("name", ["lmcache", "litellm-spend", "openai-log", "vllm-log"])
def test_nothing_of_content_is_kept(tmp_path: Path, name: str) -> None:
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    file, content = SAMPLES[name]
    for word in (b"fix", b"else", b"look", b"it says", b"private"):
        content = content.replace(word, b"hunter2")
    content = content.replace(b'"messages": {}', b'"messages": [{"role": "user", "content": "hunter2"}]')
    assert b"hunter2" in content
    (tmp_path / file).write_bytes(content)
    import_trace([tmp_path / file], tmp_path / "o.jsonl", format=name, tokenizer=word_tokenizer(tmp_path))
    assert b"hunter2" not in (tmp_path / "o.jsonl").read_bytes()
