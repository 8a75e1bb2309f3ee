"""What chunks in host memory are called where several KV cache groups share it."""

from __future__ import annotations

from typing import Final

Key = tuple[int, int, int]
"""A chunk: the content that it belongs to, the tokens of the context up to its end, and its group."""


_END: Final = 1 << 60
"""Beyond the last token of any context."""


class HostContent:
    """Whose content a program's context is, stretch by stretch: a shared prefix's, or its own.

    What a prompt drops keeps its name, and stays in host memory until it is evicted; what follows gets a new one.
    """

    def __init__(self, own: int, shared: int = -1, shared_tokens: int = 0) -> None:
        """Name a context; its first `shared_tokens` tokens are those of a prefix called `shared`."""
        self._stretches = [(own, _END)]
        if shared_tokens:
            self._stretches.insert(0, (shared, shared_tokens))
        self._named = 0
        """Tokens up to the end of the last chunk that was ever asked for."""

    def keys(self, group: int, chunk_tokens: int, start: int, stop: int) -> list[Key]:
        """Return chunks [start, stop) of a group."""
        self._named = max(self._named, stop * chunk_tokens)
        keys: list[Key] = []
        for label, stop_tokens in self._stretches:
            last = min(stop, stop_tokens // chunk_tokens)
            if last > start:
                keys += [(label, (chunk + 1) * chunk_tokens, group) for chunk in range(start, last)]
                start = last
        return keys

    def keep_to(self, tokens: int, fresh: int) -> None:
        """Let what follows the first so many tokens be a new content, called `fresh`."""
        if tokens >= self._named:
            return
        kept = [(label, stop) for label, stop in self._stretches if stop < tokens]
        self._stretches = [*kept, (self._stretches[len(kept)][0], tokens), (fresh, _END)]
