"""Counts of request samples, compared with readers of a few lines that share no code with the importers."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Program, import_trace, read_programs
from support.logs import SAMPLES, word_tokenizer
from support.request_tables import litellm_payload

Counts = tuple[int, int, int, int]
"""Programs including sub-agents, turns, input tokens, output tokens."""


def rows_of(content: bytes) -> list[Any]:
    if content.lstrip().startswith(b"["):
        return list(json.loads(content))
    return [json.loads(line) for line in content.splitlines()]


def counted(requests: Iterable[tuple[Any, int, int]]) -> Counts:
    """Count (conversation, input, output) of each request; an empty answer counts as one token."""
    by_key: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for key, prompt, output in requests:
        by_key[key].append((prompt, max(1, output)))
    turns = [turn for own in by_key.values() for turn in own]
    return len(by_key), len(turns), sum(turn[0] for turn in turns), sum(turn[1] for turn in turns)


def mooncake(content: bytes) -> Counts:
    rows = rows_of(content)
    return counted(
        (row.get("session_id", at), row["input_length"], row["output_length"]) for at, row in enumerate(rows)
    )


def bailian(content: bytes) -> Counts:
    roots: dict[int, int] = {}
    for row in rows_of(content):
        roots[row["chat_id"]] = roots.get(row["parent_chat_id"], row["chat_id"])
    return counted((roots[row["chat_id"]], row["input_length"], row["output_length"]) for row in rows_of(content))


def openai(content: bytes) -> Counts:
    rows = [row for row in rows_of(content) if row.get("status") != "failure" and row.get("call_type") != "aembedding"]
    found = []
    for row in rows:
        usage = row["response"]["usage"]
        first = json.dumps((row.get("request") or row)["messages"][:2])
        found.append((row.get("trace_id") or first, usage["prompt_tokens"], usage["completion_tokens"]))
    return counted(found)


def spend(content: bytes) -> Counts:
    rows = [row for row in rows_of(content) if row["cache_hit"] == "False"]
    return counted(
        (row.get("session_id") or row["request_id"], row["prompt_tokens"], row["completion_tokens"]) for row in rows
    )


def table(content: bytes) -> Counts:
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    if "ContextTokens" in rows[0]:
        return counted((at, int(row["ContextTokens"]), int(row["GeneratedTokens"])) for at, row in enumerate(rows))
    return counted(
        (row["Session ID"] or at, int(row["Request tokens"]), int(row["Response tokens"]))
        for at, row in enumerate(rows)
        if row["Response tokens"] != "0"
    )


def lmcache(content: bytes) -> Counts:
    """A word is a token; the first word of the prompt shows who is the agent and who its user."""
    rows = rows_of(content)
    return counted(
        ((row["session_id"], row["input"].split()[0]), len(row["input"].split()), len(row["output"].split()))
        for row in rows
    )


def aiperf_records(content: bytes) -> Counts:
    rows = [row for row in rows_of(content) if not row["error"]]
    return counted(
        (
            row["metadata"]["x_correlation_id"],
            row["metrics"]["input_sequence_length"]["value"],
            row["metrics"]["output_sequence_length"]["value"],
        )
        for row in rows
    )


def weka(content: bytes) -> Counts:
    found = []
    for at, request in enumerate(json.loads(content)["requests"]):
        inner = request["requests"] if request["type"] == "subagent" else [request]
        found += [(at if request["type"] == "subagent" else "main", one["in"], one["out"]) for one in inner]
    return counted(found)


def vllm(content: bytes) -> Counts:
    """Everything with an answer is one conversation."""
    text = content.decode()
    prompts = dict(re.findall(r"Request (\w+) details: .*prompt_token_ids: \[([\d, ]*)\], prompt_embeds", text))
    answers = dict(re.findall(r"Generated response (\w+).*output_token_ids: \[([\d, ]*)\]", text))
    lengths = {name: (len(prompts[name].split(",")), len(ids.split(","))) for name, ids in answers.items()}
    return counted(("all", prompt, output) for prompt, output in lengths.values())


def aiperf(content: bytes) -> Counts:
    """Three words of system prompt, and every prompt contains everything before it."""
    (row,) = rows_of(content)
    system, *turns = row["turns"]
    context, found = len(system["text"].split()), []
    for turn in turns:
        context += len(" ".join(turn.get("texts") or [turn["text"]]).split())
        found.append(("c", context, turn["output_length"]))
        context += turn["output_length"]
    return counted(found)


READERS: dict[str, Callable[[bytes], Counts]] = {
    "mooncake": mooncake,
    "bailian": bailian,
    "openai-log": openai,
    "litellm-spend": spend,
    "azure-llm": table,
    "burstgpt": table,
    "lmcache": lmcache,
    "aiperf-records": aiperf_records,
    "aiperf": aiperf,
    "weka": weka,
    "vllm-log": vllm,
}


def imported(folder: Path, name: str, content: bytes, **options: Any) -> Counts:
    path = folder / SAMPLES[name][0]
    path.write_bytes(content)
    import_trace([path], folder / "out.jsonl", format=name, **options)
    members: list[Program] = [one for whole in read_programs(folder / "out.jsonl") for one in whole.family()]
    turns = [turn for member in members for turn in member.turns]
    prompts, answers = sum(turn.input_tokens for turn in turns), sum(turn.output_tokens for turn in turns)
    return len(members), len(turns), prompts, answers


@pytest.mark.parametrize("name", sorted(READERS))
def test_another_reader_counts_the_same(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {}
    if name in ("lmcache", "aiperf"):
        pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
        options["tokenizer"] = word_tokenizer(tmp_path)
    assert imported(tmp_path, name, SAMPLES[name][1], **options) == READERS[name](SAMPLES[name][1])


def test_another_reader_of_litellms_payload(tmp_path: Path) -> None:
    assert imported(tmp_path, "openai-log", litellm_payload()) == openai(litellm_payload())
