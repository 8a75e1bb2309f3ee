"""What becomes of requests, spans and the traces of other tools, worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from continuum_sim.traces import Child, Program, SharedPrefix, TraceError, Turn
from support.agent_logs import lines
from support.request_logs import mooncake, mooncake_deltas, weka

Imported = Callable[..., list[Program]]


def test_weka(imported: Imported) -> None:
    (main,) = imported("weka")
    prefix = SharedPrefix("m-100-28", 128)
    assert main.program_id == "trace_0001"
    assert main.shared_prefix == prefix
    assert main.turns == (
        Turn(200, 0, 30, "tool", 7.0),
        # All three full blocks of the prompt before are there: what was generated after them is kept as well.
        # Of the 9 s before the next request the sub-agent took 6.
        Turn(300, 230, 40, "human", 3.0),
        # Two blocks of 64 are.
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
    first, third, conversation = imported("mooncake")
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
    # The helper ran in `ask`; `search` alone took 0.5 s, and nobody waits for anything else.
    assert main.turns == (Turn(500, 0, 40, "search+ask", 0.5), Turn(600, 540, 20))
    assert main.arrival_s == 0.0
    assert main.children == (Child(Program("conv/b", (Turn(80, 0, 8),)), 0, 1),)


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
