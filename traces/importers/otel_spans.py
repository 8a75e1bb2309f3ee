"""One span of an OTLP JSON export: what it is, when it ran and what it counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.fields import (
    as_array,
    as_count,
    as_object,
    as_text,
    optional_array,
    optional_object,
    refuse,
)
from continuum_sim.traces.importers.values import opened, whole

CHAT, TOOL, AGENT, OTHER = range(4)
"""What a span is: a call of a model, of a tool, of an agent, or none of these."""

_NO_CALLS: Final = ("create_agent", "embeddings", "invoke_workflow", "retrieval", "chain", "interaction", "other")
"""Operations that may have counts and generate nothing, or only sum up."""
_PROMPT: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
)
_OUTPUT: Final = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
)
_CACHED: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.details.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
    "llm.token_count.prompt_details.cache_read",
)
_CREATED: Final = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.input_tokens.cache_write",
    "gen_ai.usage.details.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
    "llm.token_count.prompt_details.cache_write",
)
_COUNTS: Final = (_PROMPT, _OUTPUT, _CACHED, _CREATED)
_COUNTS_OF_CLAUDE_CODE: Final = (
    *(("input_tokens",), ("output_tokens",)),
    *(("cache_read_tokens",), ("cache_creation_tokens",)),
)
_TOTAL: Final = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")
_CONVERSATION: Final = ("gen_ai.conversation.id", "session.id")
_TOOL_NAME: Final = ("gen_ai.tool.name", "tool.name", "tool_name")
_PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system", "llm.system", "llm.provider")
_MODEL: Final = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "model")
_BY_KIND: Final = {"TOOL": "execute_tool", "AGENT": "invoke_agent", "EMBEDDING": "embeddings", "CHAIN": "chain"}
"""OpenInference's kinds of spans that are no call of a model, as operations; its chains sum up."""
_BY_NAME: Final = ("execute_tool", "invoke_agent")
"""Operations that the convention puts in front of a span's name."""
CLAUDE_CODE: Final = "claude-code"
"""As the writer of a span."""
_OF_CLAUDE_CODE: Final = {"llm_request": "chat", "tool": "execute_tool", "interaction": "interaction"}
"""Claude Code's own spans, by ``span.type``; their counts have no prefix and count cached input apart."""
_VALUES: Final = ("stringValue", "intValue", "doubleValue")
_SPANS: Final = ("scopeSpans", "instrumentationLibrarySpans")
"""Where a resource has its spans: now, and before OTLP 0.15."""
_OTHER_SIGNALS: Final = frozenset(("resourceMetrics", "scopeMetrics", "resourceLogs", "scopeLogs", "resourceProfiles"))


class Span(NamedTuple):
    """What is kept of a span; times in ns since 1970."""

    kind: int
    start_ns: int
    end_ns: int
    id: str
    parent: str
    conversation: str
    name: str
    """Of the tool or the agent."""
    agent: str
    """Id of the agent that made the call, where the span itself says so: as Claude Code's do."""
    parent_agent: str
    agent_name: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    created_tokens: int
    """Of the prompt, what was written to the cache."""
    writer: str
    """What wrote the span: within one, cached input is either always or never part of the input."""
    total_tokens: int
    """Of prompt and output, 0 where the span does not say."""

    @property
    def counts_apart(self) -> bool:
        """Whether cached input is no part of the input: there is more of it, or the total has it beside the input."""
        cached = self.cached_tokens + self.created_tokens
        if cached > self.input_tokens:
            return True
        return cached > 0 and self.total_tokens == self.input_tokens + cached + self.output_tokens

    def with_cached_input(self) -> Span:
        """Return the span with what was counted apart put into its prompt."""
        return self._replace(input_tokens=self.input_tokens + self.cached_tokens + self.created_tokens)


def read_spans(request: Any) -> Iterator[tuple[str, Span]]:
    """Yield every span of one export with the id of its trace.

    An export, decoded or not (see `opened`), is ``{"resourceSpans": [...]}``, Tempo's ``{"batches": [...]}`` or one
    resource's spans by themselves.
    Metrics and logs, which some collectors write to the same file, have none.

    Raises
    ------
    TraceError
        If it is something else, or a span cannot be right.
    """
    root = as_object(opened(request), "the export")
    root = optional_object(opened(root.get("trace"))) or root
    if not root or _OTHER_SIGNALS & root.keys():
        return
    if any(name in root for name in _SPANS):
        yield from _of_resource(root, "")
        return
    _refuse_others(root)
    name = "batches" if "batches" in root else "resourceSpans"
    for i, resource in enumerate(as_array(opened(root.get(name)), name)):
        place = f"{name}[{i}]"
        yield from _of_resource(as_object(opened(resource), place), f"{place}.")


def _refuse_others(root: dict[str, Any]) -> None:
    found = optional_array(whole(root.get("data")))
    if "traceID" in root or (found and isinstance(found[0], dict) and "traceID" in found[0]):
        raise TraceError("is Jaeger's own JSON, expected OTLP JSON (as Jaeger's API gives it under /api/v3)")
    if {"traceId", "id", "timestamp"} <= root.keys():
        raise TraceError("is Zipkin's JSON, expected OTLP JSON (as the collector's file exporter writes it)")


def _of_resource(resource: dict[str, Any], place: str) -> Iterator[tuple[str, Span]]:
    name = _SPANS[0] if _SPANS[0] in resource else next((one for one in _SPANS if one in resource), _SPANS[0])
    for j, value in enumerate(as_array(opened(resource.get(name)), f"{place}{name}")):
        at = f"{place}{name}[{j}]"
        scope = as_object(opened(value), at)
        library = optional_object(whole(scope.get("scope")))
        library = library or optional_object(whole(scope.get("instrumentationLibrary")))
        writer = f"{library.get('name', '')} {library.get('version', '')}"
        for k, span in enumerate(as_array(opened(scope.get("spans")), f"{at}.spans")):
            yield _span(whole(span), f"{at}.spans[{k}]", writer)


def _span(value: Any, place: str, writer: str) -> tuple[str, Span]:
    span = as_object(value, place)
    attributes = _attributes(span.get("attributes"))
    name = span.get("name")
    of_claude_code = isinstance(name, str) and name.startswith("claude_code.")
    own = _OF_CLAUDE_CODE.get(str(attributes.get("span.type")), "other") if of_claude_code else ""
    operation = own or attributes.get("gen_ai.operation.name") or _named_operation(span, attributes)
    if own:
        counts: tuple[tuple[str, ...], ...] = _COUNTS_OF_CLAUDE_CODE
        writer = CLAUDE_CODE
    else:
        counts = _COUNTS
        writer = f"{writer} {_text_of(attributes, _PROVIDER)}"
    prompt, output, cached, created = [_counted(attributes, names, place) for names in counts]
    tool = _text_of(attributes, _TOOL_NAME)
    kind = OTHER
    if operation == "execute_tool" or (operation is None and tool and prompt is None):
        kind = TOOL
    elif operation == "invoke_agent":
        kind = AGENT
    elif prompt is not None and output is not None and operation not in _NO_CALLS:
        kind = CHAT
    agent_name = _text_of(attributes, ("gen_ai.agent.name",))
    parent = span.get("parentSpanId")
    row = Span(
        kind,
        _nanoseconds(span.get("startTimeUnixNano"), f"{place}.startTimeUnixNano"),
        _nanoseconds(span.get("endTimeUnixNano"), f"{place}.endTimeUnixNano"),
        as_text(span.get("spanId"), f"{place}.spanId"),
        parent if isinstance(parent, str) else "",
        _text_of(attributes, _CONVERSATION),
        tool if kind == TOOL else agent_name,
        _text_of(attributes, ("agent_id",)) if own else "",
        _text_of(attributes, ("parent_agent_id",)) if own else "",
        agent_name,
        _text_of(attributes, _MODEL),
        prompt or 0,
        output or 0,
        cached or 0,
        created or 0,
        writer,
        _counted(attributes, _TOTAL, place) or 0,
    )
    return as_text(span.get("traceId"), f"{place}.traceId"), row


def _named_operation(span: dict[str, Any], attributes: dict[str, Any]) -> str | None:
    kind = attributes.get("openinference.span.kind")
    if isinstance(kind, str):
        return _BY_KIND.get(kind.upper())
    name = span.get("name")
    return next((one for one in _BY_NAME if isinstance(name, str) and name.split(" ")[0] == one), None)


def _attributes(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in optional_array(value):
        if type(entry) is dict and type(entry.get("key")) is str:
            held = optional_object(entry.get("value"))
            found[entry["key"]] = None
            for name, one in held.items():
                if name in _VALUES:
                    found[entry["key"]] = one
                    break
    return found


def _text_of(attributes: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = attributes.get(name)
        if type(value) is str and value:
            return value
    return ""


def _counted(attributes: dict[str, Any], names: tuple[str, ...], place: str) -> int | None:
    for name in names:
        value = attributes.get(name)
        if value is None:
            continue
        if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 16:
            value = int(value)
        return as_count(value, f"{place}.attributes.{name}")
    return None


def _nanoseconds(value: Any, place: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        value = int(value)
    if type(value) is not int or not 0 < value < 2**63:
        refuse(place, value, "nanoseconds since 1970")
    return int(value)
