"""Servers' answers, in the shapes of OpenAI's chat completions and responses and of Anthropic's messages.

Source: github.com/openai/openai-python, ``src/openai/types/chat/chat_completion.py``, ``chat_completion_chunk.py`` and
``types/responses/response.py``; github.com/anthropics/anthropic-sdk-python, ``src/anthropic/types/message.py`` and
``raw_message_stream_event.py``.
"""

from __future__ import annotations

from typing import Any, Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.calls import joined
from continuum_sim.traces.importers.fields import optional_array, optional_object
from continuum_sim.traces.importers.usage import REASONING
from continuum_sim.traces.importers.values import decode

_CLIENT_ITEMS: Final = (
    *("function_call", "custom_tool_call", "local_shell_call", "shell_call"),
    *("apply_patch_call", "computer_call"),
)
"""Items of a response that the client executes; the others (searches, code interpreters) run on the server."""


def answer_of(value: Any) -> dict[str, Any]:
    """Return an answer as one object, decoding JSON in a string and merging the pieces of a stream."""
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, list):
        return _merged([optional_object(piece) for piece in value])
    return optional_object(value)


def tool_names(answer: dict[str, Any]) -> str:
    """Return the names of the tools that an answer makes its client call, joined by ``+``."""
    names: list[Any] = []
    for choice in optional_array(answer.get("choices")):
        message = optional_object(optional_object(choice).get("message"))
        names.append(optional_object(message.get("function_call")).get("name"))
        for call in optional_array(message.get("tool_calls")):
            one = optional_object(call)
            names.append(optional_object(one.get("function") or one.get("custom")).get("name"))
    items = map(optional_object, optional_array(answer.get("output")))
    blocks = map(optional_object, optional_array(answer.get("content")))
    names += [
        item.get("name") or str(item["type"]).removesuffix("_call")
        for item in items
        if item.get("type") in _CLIENT_ITEMS
    ]
    names += [block.get("name") for block in blocks if block.get("type") == "tool_use"]
    return joined(name for name in names if isinstance(name, str))


def shows_reasoning(answer: dict[str, Any]) -> bool:
    """Return True if an answer holds its reasoning, readable or encrypted, so that a client may send it back."""
    for choice in optional_array(answer.get("choices")):
        message = optional_object(optional_object(choice).get("message"))
        if any(message.get(name) for name in REASONING):
            return True
    items = map(optional_object, optional_array(answer.get("output")))
    blocks = map(optional_object, optional_array(answer.get("content")))
    return any(item.get("type") == "reasoning" and item.get("encrypted_content") for item in items) or any(
        block.get("type") in ("thinking", "redacted_thinking") for block in blocks
    )


def _from_text(text: str) -> Any:
    """Return the contents of a string: JSON, or the events of a stream."""
    try:
        if text.lstrip()[:1] in ("{", "["):
            return decode(text.encode("utf-8", "replace"))
        lines = (line[5:].strip() for line in text.splitlines() if line.startswith("data:"))
        return [decode(line.encode("utf-8", "replace")) for line in lines if line.startswith("{")]
    except TraceError:
        return None


def _merged(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge the pieces of a streamed answer, as far as an import needs them."""
    whole: dict[str, Any] = {}
    calls: list[Any] = []
    blocks: list[Any] = []
    message: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    for piece in pieces:
        if isinstance(piece.get("response"), dict):  # an event of the responses API; the last one is complete
            whole = piece["response"]
            continue
        begun = optional_object(piece.get("message"))
        for name in ("id", "created"):
            value = piece.get(name, begun.get(name))
            if value is not None:
                whole.setdefault(name, value)
        for counts in (begun.get("usage"), piece.get("usage")):
            usage.update({name: count for name, count in optional_object(counts).items() if count is not None})
        if piece.get("type") == "content_block_start":
            blocks.append(piece.get("content_block"))
        for choice in optional_array(piece.get("choices")):
            delta = optional_object(optional_object(choice).get("delta"))
            calls += optional_array(delta.get("tool_calls"))
            message.update({name: True for name in REASONING if delta.get(name)})
    if usage:
        whole.setdefault("usage", usage)
    if calls or message:
        whole["choices"] = [{"message": {**message, "tool_calls": calls}}]
    if blocks:
        whole["content"] = blocks
    return whole
