"""Logs of requests to OpenAI-compatible servers: one call per line, request and response.

Source: the request (``messages``, or ``input`` with ``instructions`` and ``previous_response_id``) and response
(``id``, ``created``, ``usage``) are OpenAI's chat completion and response objects (github.com/openai/openai-python,
``src/openai/types/chat/chat_completion.py``, ``types/responses/response.py``, ``types/completion_usage.py``), as vLLM
serves them too, or Anthropic's messages. Every log wraps them in its own way; these are read:
``request`` (or ``body``) and ``response`` (or ``response.body``, as in OpenAI's batch output), or their fields on the
line itself; a response may be the list of its streamed pieces, or text; ``start_time`` and ``end_time`` (since 1970,
or ISO 8601), otherwise ``created`` as the start; ``session_id`` if calls have one.

LiteLLM's loggers are read too (``StandardLoggingPayload``: ``startTime`` and ``endTime``, ``trace_id``, ``call_type``;
github.com/BerriAI/litellm, ``docs/my-website/docs/proxy/logging_spec.md``).

Without ``session_id`` a call continues an earlier one if its messages begin with all of that one's messages, which is
exact because agents send just that, or if it names the previous response.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.answers import answer_of, shows_reasoning, tool_names
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.chat import system_prefix
from continuum_sim.traces.importers.fields import (
    as_instant,
    as_object,
    as_seconds,
    optional_array,
    optional_object,
    refuse,
)
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, Stems, each_row
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.timed import Request, TimedRequests
from continuum_sim.traces.importers.usage import read_usage
from continuum_sim.traces.schema import Program

_STARTS: Final = ("start_time", "startTime", "started_at", "timestamp")
_ENDS: Final = ("end_time", "endTime", "ended_at", "completed_at")
_SESSIONS: Final = ("session_id", "sessionId", "conversation_id", "thread_id")
NO_GENERATION: Final = ("embedding", "rerank", "moderation", "image", "transcription", "speech", "ocr")
"""Values of LiteLLM's ``call_type`` for requests that generate no text."""


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    requests = TimedRequests(state)
    stems = Stems()
    chains = _Chains()
    for source, number, value in each_row(sources, state):
        name = stems.row(source, number)
        try:
            record = as_object(value, "the line")
            if passed_over(record, state):
                continue
            key, request = _request(record, name, chains, state)
        except TraceError as error:
            state.bad(error, source.path, number)
            continue
        requests.add(key, request, source.path, number)
    yield from requests.programs()


def passed_over(record: dict[str, Any], state: ImportState) -> bool:
    """Return True if LiteLLM says that a call failed, generated no text, or was answered without the model."""
    call_type = record.get("call_type")
    if isinstance(call_type, str) and any(kind in call_type for kind in NO_GENERATION):
        state.note("requests that generate nothing (embeddings), left out")
        return True
    if record.get("status") == "failure":
        state.note("calls that failed, left out")
        return True
    if call_type is not None and str(record.get("cache_hit")).lower() == "true":
        state.note("calls answered from the proxy's own cache, left out")
        return True
    return False


class _Chains:
    """Conversations, found by a hash of all messages of their last call, by its response, or by a trace id."""

    def __init__(self) -> None:
        self._of: dict[bytes, str] = {}
        self._by_response: dict[str, str] = {}
        self._by_trace: dict[str, str] = {}

    def follow(self, messages: list[Any], trace: str | None, previous: Any, response: Any, new: str) -> str:
        """Return the conversation that a call continues, or begin ``new``."""
        digest = hashlib.blake2b(digest_size=16)
        found = None
        for message in messages:
            digest.update(hashlib.blake2b(_encoded(message), digest_size=16).digest())
            found = self._of.get(digest.digest(), found)
        if isinstance(previous, str):
            found = self._by_response.get(previous)
        if trace is not None:
            found = self._by_trace.get(trace, found)
        name = found or trace or new
        if messages and not isinstance(previous, str):
            self._of[digest.digest()] = name
        if trace is not None:
            self._by_trace[trace] = name
        if isinstance(response, str) and response.startswith("resp"):
            self._by_response[response] = name
        return name


def _encoded(message: Any) -> bytes:
    encoded = msgspec.json.encode(message, order="sorted")
    if b'"cache_control"' in encoded:  # Anthropic's mark of how far to cache, which moves with every call
        encoded = msgspec.json.encode(_without_marks(message), order="sorted")
    return encoded


def _without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_marks(item) for name, item in value.items() if name != "cache_control"}
    return [_without_marks(item) for item in value] if isinstance(value, list) else value


def _request(record: dict[str, Any], default: str, chains: _Chains, state: ImportState) -> tuple[str, Request]:
    """Return the conversation and the request of a call."""
    response = answer_of(record.get("response")) or record
    response = answer_of(response.get("body")) or response
    request = optional_object(record.get("request")) or optional_object(record.get("body")) or record
    request = optional_object(request.get("body")) or request
    counts = response.get("usage")
    if counts is None and record.get("prompt_tokens") is not None:
        counts = record  # LiteLLM's own, if the response is not logged
    usage = read_usage(counts, "response.usage")
    messages = _messages(request)
    start_s = _time(record, _STARTS)
    if start_s is None:
        start_s = _time(response, ("created", "created_at"))
    key = _session(record, request)
    if key is None:
        trace = record.get("trace_id")
        trace = trace if isinstance(trace, str) and trace else None
        key = chains.follow(messages, trace, request.get("previous_response_id"), response.get("id"), default)
    prefix = system_prefix(messages, state)
    return key, Request(
        start_s=start_s,
        end_s=_time(record, _ENDS),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        output_dropped=bool(usage.reasoning_tokens) and not shows_reasoning(response),
        tool=tool_names(response),
        prefix=(prefix.id, prefix.tokens) if prefix else None,
        mean_acceptance_length=_accepted(response),
    )


def _accepted(response: dict[str, Any]) -> float | None:
    """Return the mean acceptance length that vLLM tells with `--per-request-spec-decode-metrics`."""
    drafts = optional_object(optional_object(response.get("metrics")).get("speculative_decoding"))
    length = drafts.get("mean_acceptance_length")
    return (
        None if length is None else as_seconds(length, "response.metrics.speculative_decoding.mean_acceptance_length")
    )


def _messages(request: dict[str, Any]) -> list[Any]:
    """Return the messages of a prompt; a separate system prompt comes first."""
    messages = request.get("messages")
    if messages is None:
        messages = request.get("input")
    if isinstance(messages, str) and messages:
        messages = [{"role": "user", "content": messages}]
    system = request.get("system") or request.get("instructions")
    if isinstance(system, str | list) and system:
        return [{"role": "system", "content": system}, *optional_array(messages)]
    return optional_array(messages)


def _session(record: dict[str, Any], request: dict[str, Any]) -> str | None:
    for holder in (record, optional_object(record.get("metadata")), optional_object(request.get("metadata"))):
        for name in _SESSIONS:
            value = holder.get(name)
            if value is not None:
                if type(value) not in (str, int) or value == "":
                    refuse(name, value, "a non-empty string")
                return str(value)
    return None


def _time(record: dict[str, Any], names: tuple[str, ...]) -> float | None:
    for name in names:
        if record.get(name) is not None:
            return as_instant(record[name], name)
    return None


def _sniff(head: Head) -> float:
    if head.has("call_type", "startTime") and not head.has("request_id", "spend"):
        return 0.9  # LiteLLM's payload; its table of spend has other fields
    if "usage" not in head.names or head.has("trajectory") or "mini_version" in head.names or head.has("sessionId"):
        return 0.0
    if head.has("response") and (head.has("request") or head.has("custom_id")):
        return 0.9
    answered = head.top & {"messages", "choices", "output"} or head.has("content", "stop_reason")
    return 0.7 if head.has("usage") and answered else 0.0


OPENAI_LOG = Importer(
    name="openai-log",
    title="logs of OpenAI-compatible requests and responses, also LiteLLM's",
    source="github.com/openai/openai-python: src/openai/types/chat/chat_completion.py, types/responses/response.py; "
    "github.com/BerriAI/litellm: docs/my-website/docs/proxy/logging_spec.md",
    patterns=("*.jsonl", "*.json"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: usage",
        "tool_s: from end_time to the next start_time",
        "tool: names of the tool calls, several joined by +",
        "arrival_s: start of a program's first call, from the earliest on",
    ),
    derived=(
        "which calls are one program: session_id, else messages that begin with all of an earlier call's, "
        "previous_response_id or trace_id",
        "kept_tokens: from prompt lengths and reasoning_tokens (hidden reasoning breaks the prefix); after a shorter "
        "prompt, cached_tokens",
        "shared_prefix: the system prompt, counted with --tokenizer",
    ),
    missing=("shared_prefix without --tokenizer",),
)
