"""Imported requests, spans and traces of other tools, computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from continuum_sim.traces import Child, Program, SharedPrefix, TraceError, Turn, import_trace
from support.agent_logs import lines
from support.logs import word_tokenizer
from support.request_logs import mooncake, mooncake_deltas, openai_log, otel, weka

Imported = Callable[..., list[Program]]


def test_weka(imported: Imported) -> None:
    (main,) = imported("weka")
    prefix = SharedPrefix("m-100-28", 128)
    assert main.program_id == "trace_0001"
    assert main.shared_prefix == prefix
    assert main.turns == (
        Turn(200, 0, 30, "tool", 7.0),
        # All three full blocks of the previous prompt recur, so what was generated after them counts as kept.
        # Of the 9 s before the next request the sub-agent took 6.
        Turn(300, 230, 40, "human", 3.0),
        # Two blocks of 64 do.
        Turn(200, 128, 20),
    )
    assert main.children == (Child(Program("trace_0001/agent_001", (Turn(130, 0, 5),)), 1, 2),)


def test_weka_sub_agents_before_and_after_everything(imported: Imported) -> None:
    trace = json.loads(weka())
    agent = trace["requests"].pop(2)
    trace["requests"] = [agent, *trace["requests"], agent | {"agent_id": "b", "duration_ms": None}]
    before, main = imported("weka", json.dumps(trace).encode())
    assert before.program_id == "trace_0001/agent_001"
    assert [(child.program.program_id, child.after_turn, child.join_turn) for child in main.children] == [
        ("trace_0001/b", 2, None)
    ]
    assert [turn.tool_s for turn in main.turns] == [7.0, 9.0, 0.0]


def test_weka_requests_recorded_twice(imported: Imported) -> None:
    trace = json.loads(weka())
    first, second, agent, third = trace["requests"]
    again = [{**request, "type": "n", "out": 1} for request in (first, second, third)]
    trace["requests"] = [again[0], first, second, again[1], agent, again[2], third]
    assert imported("weka", json.dumps(trace).encode()) == imported("weka")


def test_mooncake(imported: Imported) -> None:
    first, conversation, third = imported("mooncake")
    assert first == Program("m-1", (Turn(600, 0, 6),), 0.0, SharedPrefix("block-7", 512))
    assert third == Program("m-3", (Turn(512, 0, 4),), 1.5, SharedPrefix("block-7", 512))
    assert conversation == Program(
        "s", (Turn(1024, 0, 10, "delay", 0.25), Turn(1100, 1034, 20)), 0.5, SharedPrefix("block-7", 512)
    )


def test_mooncake_with_dynamos_other_names(imported: Imported) -> None:
    content = mooncake()
    for name, other in (("input_length", "input_tokens"), ("output_length", "output_tokens")):
        content = content.replace(name.encode(), other.encode())
    content = content.replace(b"timestamp", b"created_time").replace(b'"delay"', b'"delay_ms"')
    assert imported("mooncake", content) == imported("mooncake")


def test_mooncake_shared_prefixes_never_claim_too_much(imported: Imported) -> None:
    prompts = [[1, 2, 3, 4], [1, 2, 5, 6], [1, 2, 5, 7], [1, 9]]
    rows = [{"input_length": 512 * len(ids), "output_length": 1, "hash_ids": ids, "timestamp": 0} for ids in prompts]
    programs = imported("mooncake", lines(*rows))
    for i, one in enumerate(programs):
        for j, other in enumerate(programs[:i]):
            assert one.shared_prefix is not None
            assert other.shared_prefix is not None
            assert one.shared_prefix.id == other.shared_prefix.id
            same = next((k for k, (a, b) in enumerate(zip(prompts[i], prompts[j], strict=False)) if a != b), 99)
            assert min(one.shared_prefix.tokens, other.shared_prefix.tokens) <= 512 * same


def test_mooncake_rows_without_hashes_add_to_a_conversation(imported: Imported) -> None:
    (program,) = imported("mooncake", mooncake_deltas())
    assert program.turns == (Turn(300, 0, 40, "delay", 2.0), Turn(490, 340, 20))


def test_mooncake_rows_whose_hashes_are_of_what_they_add(imported: Imported) -> None:
    rows = [
        {"session_id": "s", "input_length": 1100, "output_length": 40, "hash_ids": [0, 1, 2], "timestamp": 0.0},
        {"session_id": "s", "input_length": 700, "output_length": 20, "hash_ids": [7, 8], "delay": 1500.0},
        {"session_id": "s", "input_length": 90, "output_length": 5, "hash_ids": [9], "delay": 10.0},
    ]
    (program,) = imported("mooncake", lines(*rows))
    assert program.turns == (Turn(1100, 0, 40, "delay", 1.5), Turn(1840, 1140, 20, "delay", 0.01), Turn(1950, 1860, 5))
    assert program.shared_prefix == SharedPrefix("block-0", 1024)
    # One prompt begins like the first, so they are whole prompts.
    rows[2] = rows[2] | {"input_length": 1300, "hash_ids": [0, 1, 5]}
    (program,) = imported("mooncake", lines(*rows))
    assert [(turn.input_tokens, turn.kept_tokens) for turn in program.turns] == [(1100, 0), (700, 0), (1300, 0)]


def test_mooncake_block_size(imported: Imported) -> None:
    row = lines({"timestamp": 0, "input_length": 100, "output_length": 1, "hash_ids": [1, 2, 3, 4, 5, 6, 7]})
    with pytest.raises(TraceError, match=r"m\.jsonl:1: hash_ids has 7 blocks for 100 tokens, .*--block-size"):
        imported("mooncake", row)
    (program,) = imported("mooncake", row, block_size=16)
    assert program.shared_prefix == SharedPrefix("block-1", 96)


def test_aiperf(imported: Imported) -> None:
    (program,) = imported("aiperf")
    # Three words of system prompt; then 3 more; then all of it, 5 generated tokens and 3 more words.
    assert program.turns == (Turn(6, 0, 5, "delay", 1.5), Turn(14, 11, 7))
    assert program.arrival_s == 2.0
    assert program.shared_prefix is not None
    assert program.shared_prefix.tokens == 3


def test_otel(imported: Imported) -> None:
    (main,) = imported("otel")
    assert main.program_id == "conv"
    # The helper ran in `ask`; `search` alone took 0.5 s, and nothing else is waited for.
    assert main.turns == (Turn(500, 0, 40, "search+ask", 0.5), Turn(600, 540, 20))
    assert main.arrival_s == 0.0
    assert main.children == (Child(Program("conv/b", (Turn(80, 0, 8),)), 0, 1),)


def test_otel_by_other_names(imported: Imported) -> None:
    """Spans without an operation, with OpenInference's names, in a session, and with a span that sums up the calls."""
    (main,) = imported("otel")
    content = otel().replace(b"gen_ai.operation.name", b"other").replace(b"gen_ai.conversation.id", b"session.id")
    content = content.replace(b"gen_ai.tool.name", b"tool.name").replace(
        b"gen_ai.usage.input_tokens", b"llm.token_count.prompt"
    )
    content = content.replace(b"gen_ai.usage.output_tokens", b"llm.token_count.completion")
    export = json.loads(content)
    spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"]
    for one in spans:
        kind = {"a": "AGENT", "b": "AGENT", "h": "CHAIN"}.get(one["spanId"])
        if kind:
            one["attributes"].append({"key": "openinference.span.kind", "value": {"stringValue": kind}})
    assert imported("otel", json.dumps(export).encode()) == [main]
    (sums,) = [one for one in spans if one["spanId"] == "a"]
    sums["attributes"] = [{"key": "session.id", "value": {"stringValue": "conv"}}]
    for name, count in (("prompt", 1180), ("completion", 68)):
        sums["attributes"].append({"key": f"llm.token_count.{name}", "value": {"intValue": str(count)}})
    programs = imported("otel", json.dumps(export).encode())
    assert sorted(turn.input_tokens for program in programs for turn in program.turns) == [80, 500, 600]


def test_openai_log_with_hidden_reasoning(imported: Imported) -> None:
    calls = [json.loads(line) for line in openai_log().splitlines()]
    calls[0]["response"]["usage"]["completion_tokens_details"] = {"reasoning_tokens": 12}
    assert imported("openai-log", lines(*calls))[0].turns[1].kept_tokens == 100
    calls[0]["response"]["choices"][0]["message"]["reasoning_content"] = "it may be sent back"
    assert imported("openai-log", lines(*calls))[0].turns[1].kept_tokens == 120


def test_openai_log(imported: Imported) -> None:
    first, other = imported("openai-log")
    assert first.turns == (Turn(100, 0, 20, "ls", 2.5), Turn(150, 120, 10))
    assert first.arrival_s == 0.0
    assert other.turns == (Turn(90, 0, 5),)
    assert other.arrival_s == 0.5


def test_openai_batch_output(imported: Imported) -> None:
    body = {"id": "r", "created": 1775802000, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    (program,) = imported("openai-log", lines({"custom_id": "a", "response": {"status_code": 200, "body": body}}))
    assert program.turns == (Turn(9, 0, 3),)


def test_vllm_log(imported: Imported) -> None:
    (program,) = imported("vllm-log")
    # The second prompt holds the first (4 ids) and two of the three ids generated after it.
    assert program.turns == (Turn(4, 0, 3, "client", 2.0), Turn(8, 6, 1))
    assert program.arrival_s == 0.0


def test_vllm_log_of_older_versions(imported: Imported) -> None:
    text = (
        "INFO 11-22 20:04:09 [logger.py:43] Received request cmpl-1: prompt: 'hi', params: SamplingParams(n=1), "
        "prompt_token_ids: [1, 2, 3], prompt_embeds shape: None, lora_request: None.\n"
        "INFO 11-22 20:04:10 [logger.py:71] Generated response cmpl-1: output: 'x', output_token_ids: [4], "
        "finish_reason: stop\n"
    )
    (program,) = imported("vllm-log", text.encode())
    assert program.turns == (Turn(3, 0, 1),)


def test_vllm_log_of_chats_has_text_alone(imported: Imported, tmp_path: Path) -> None:
    def request(name: str, second: int, prompt: str, output: str) -> str:
        head = f"(APIServer pid=1) INFO 11-05 12:39:{second:02d} [logger.py:40] "
        received = f"Received request {name}: prompt: {prompt!r}, params: SamplingParams(n=1), prompt_token_ids: None, "
        answer = f"Generated response {name}: output: {output!r}, output_token_ids: None, finish_reason: stop\n"
        return head + received + "prompt_embeds shape: None, lora_request: None.\n" + head + answer

    text = request("a", 10, "you are terse 'a'", "fix it") + request("b", 20, "you are terse 'a' fix the bug", "done")
    pooling = "INFO 11-05 12:39:11 [logger.py:40] Received request e: prompt: 'a', params: PoolingParams(), ids: None\n"
    with pytest.raises(TraceError, match=r"server\.log:1: the line has text and no token ids: .* --tokenizer DIR"):
        imported("vllm-log", text.encode())
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    (program,) = imported("vllm-log", (text + pooling).encode(), tokenizer=word_tokenizer(tmp_path))
    assert program.turns == (Turn(4, 0, 2, "client", 10.0), Turn(7, 5, 1))


def test_weka_one_conversation_a_line(tmp_path: Path) -> None:
    traces = [json.loads(weka()) | {"id": name} for name in ("a", "b")]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "traces.jsonl").write_bytes(lines(*traces))
    made = import_trace([tmp_path / "corpus"], tmp_path / "out.jsonl")
    assert (made.format, made.programs, made.turns) == ("weka", 2, 8)
    assert import_trace([tmp_path / "corpus"], tmp_path / "out.jsonl", format="weka").programs == 2


def test_openai_log_tells_what_drafts_a_turn_accepted(imported: Imported) -> None:
    """vLLM's answers have it with `--per-request-spec-decode-metrics`."""
    calls = []
    for number, length in enumerate((2.75, None)):
        drafts = {} if length is None else {"metrics": {"speculative_decoding": {"mean_acceptance_length": length}}}
        calls.append(
            {
                "session_id": "s",
                "request": {"messages": [{"role": "user", "content": "go"}] * (1 + number)},
                "response": {"usage": {"prompt_tokens": 10 + number, "completion_tokens": 5}, **drafts},
                "start_time": 10.0 * number,
                "end_time": 10.0 * number + 1,
            }
        )
    (program,) = imported("openai-log", lines(*calls))
    assert [turn.mean_acceptance_length for turn in program.turns] == [2.75, None]
