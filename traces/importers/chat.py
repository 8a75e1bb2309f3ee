"""Chat messages: their text and its tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import SharedPrefix


def message_text(message: Any) -> str:
    """Return everything that a model would read of a message: role, text, tool calls.

    A server adds its chat template, so token counts of this text are a few tokens per message too low.
    """
    if not isinstance(message, dict):
        return str(message)
    parts = [str(message.get("role", ""))]
    content = message.get("content")
    if isinstance(content, str):
        parts.append(content)
    elif isinstance(content, list):
        parts += [_part(part) for part in content]
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        parts.append(msgspec.json.encode(calls).decode("utf-8", "replace"))
    return "\n".join(parts)


def _part(part: Any) -> str:
    if isinstance(part, dict):
        for name in ("text", "content", "thinking"):
            if isinstance(part.get(name), str):
                return str(part[name])
        return msgspec.json.encode(part).decode("utf-8", "replace")
    return str(part)


def system_prefix(messages: Sequence[Any], state: ImportState) -> SharedPrefix | None:
    """Return a conversation's leading system prompt as a shared prefix, if its tokens can be counted."""
    if state.tokens is None or not messages:
        return None
    first = messages[0]
    if not isinstance(first, dict) or first.get("role") not in ("system", "developer"):
        return None
    text = message_text(first)
    tokens = state.tokens.count(text)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return SharedPrefix(f"system-{digest[:16]}", tokens) if tokens else None
