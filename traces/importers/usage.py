"""Token counts as providers report them with a response."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.fields import as_count, as_object, optional_object

REASONING: Final = ("reasoning_content", "reasoning", "thinking_blocks")
"""Message fields where servers and litellm put reasoning that may be sent back, unlike hidden reasoning."""


class Usage(NamedTuple):
    """Tokens of one call: the whole prompt, including its cached part, and all output, including reasoning."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int = 0
    """Reasoning tokens in the output that are not part of the answer, if a provider counts them."""


def read_usage(value: Any, place: str) -> Usage:
    """Read the ``usage`` of OpenAI's chat completions or responses, of litellm, or of Anthropic's messages.

    OpenAI includes tokens from a cache in the prompt tokens (``prompt_tokens_details.cached_tokens`` of them;
    in the responses API ``input_tokens_details.cached_tokens``). Anthropic counts them apart: the prompt is
    ``input_tokens`` + ``cache_creation_input_tokens`` + ``cache_read_input_tokens`` (github.com/uw-syfi/TraceLab,
    docs/prompt_cache_accounting.md).

    Raises
    ------
    TraceError
        If the counts are absent or invalid.
    """
    usage = as_object(value, place)
    if usage.get("prompt_tokens") is not None:
        prompt = as_count(usage["prompt_tokens"], f"{place}.prompt_tokens", 1)
        output = as_count(usage.get("completion_tokens"), f"{place}.completion_tokens")
        details = optional_object(usage.get("prompt_tokens_details"))
        cached = _part(details, "cached_tokens", f"{place}.prompt_tokens_details", prompt)
        if not cached:  # LiteLLM passes Anthropic's counts on like this, here included in the prompt tokens
            cached = _part(usage, "cache_read_input_tokens", place, prompt)
        details = optional_object(usage.get("completion_tokens_details"))
        return Usage(
            prompt, output, cached, _part(details, "reasoning_tokens", f"{place}.completion_tokens_details", output)
        )
    if usage.get("input_tokens") is None:
        raise TraceError(f"{place} has neither prompt_tokens nor input_tokens, expected one of them")
    output = as_count(usage.get("output_tokens"), f"{place}.output_tokens")
    if usage.get("cache_read_input_tokens") is not None or usage.get("cache_creation_input_tokens") is not None:
        read = as_count(usage.get("cache_read_input_tokens") or 0, f"{place}.cache_read_input_tokens")
        made = as_count(usage.get("cache_creation_input_tokens") or 0, f"{place}.cache_creation_input_tokens")
        rest = as_count(usage["input_tokens"], f"{place}.input_tokens")
        return Usage(as_count(rest + made + read, f"{place}: the whole prompt", 1), output, read)
    prompt = as_count(usage["input_tokens"], f"{place}.input_tokens", 1)
    details = optional_object(usage.get("input_tokens_details"))
    cached = _part(details, "cached_tokens", f"{place}.input_tokens_details", prompt)
    details = optional_object(usage.get("output_tokens_details"))
    reasoning = _part(details, "reasoning_tokens", f"{place}.output_tokens_details", output)
    return Usage(prompt, output, cached, reasoning)


def _part(details: dict[str, Any], name: str, place: str, whole: int) -> int:
    value = details.get(name)
    return 0 if value is None else min(whole, as_count(value, f"{place}.{name}"))
