"""What a Claude Code response keeps of the one before it after a person went back and asked anew, or forked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from continuum_sim.traces.importers.claude_parts import Response


def kept_of_branch(responses: Sequence[Response], index: int) -> int | None:
    """Return how many tokens a response's prompt shares with the response before it in time.

    ``None`` if it continues that one, as nearly all do, or if the log does not say: then lengths decide. Two
    branches share what existed once their last common response had been given. If a compaction lies in
    between, they share only what the cache is known to have supplied.
    """
    one, before = responses[index], responses[index - 1] if index else None
    if before is None or one.compacted or one.goes_on_from in (None, index - 1):
        return None
    most = min(one.input_tokens, before.input_tokens + max(1, before.output_tokens))
    if one.parent and one.parent == before.parent:
        return min(most, before.input_tokens)  # the same question, asked again
    above = set(_branch(responses, one.goes_on_from))
    last = index - 1
    for place in _branch(responses, index - 1):
        if place in above:
            common, after = responses[place], responses[last]
            context = common.input_tokens + max(1, common.output_tokens)
            # This one can find no more of it than the other branch kept.
            return min(most, context if after.input_tokens >= context else common.input_tokens)
        if responses[place].compacted:
            break
        last = place
    return min(most, one.cached_tokens)


def _branch(responses: Sequence[Response], index: int | None) -> Iterator[int]:
    """Yield a response and those it continues, latest first."""
    while index is not None and index >= 0:
        yield index
        index = responses[index].goes_on_from
