"""What is kept of a Claude Code session: its agents, their responses, and what came before each response."""

from __future__ import annotations

from typing import Final

import msgspec

CHARS_PER_TOKEN: Final = 10
"""No text reaches this once runs of one character count as one; an output that would need it was not recorded."""


class Came(msgspec.Struct, array_like=True, gc=False):
    """A message before a response that concerns a sub-agent or a background task."""

    at: float | None
    """Seconds since 1970."""
    tool: str = ""
    """Id of the call that it answers (of a sub-agent or shell), or that launched what has ended."""
    task: str = ""
    """The sub-agent or shell that has ended."""
    ended: bool = False
    """True if it says that what the call started has ended."""
    is_news: bool = False
    """True if it came as a notification rather than as an answer."""


class Response(msgspec.Struct, array_like=True, gc=False):
    """One LLM call, assembled from its records; times in seconds since 1970."""

    id: int
    """Hash of its ``message.id``."""
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    compacted: bool
    came: list[Came] | None
    """What concerned sub-agents or background tasks before it."""
    other: float | None
    """Time of the last other input: answers of other tools, messages."""
    from_user: bool
    """True if a person's message was among those."""
    parent: int
    """Record that it answers, 0 if unknown."""
    goes_on_from: int | None
    """Index of the response before it in its branch: -1 if there is none, ``None`` if unknown."""
    first: float | None = None
    """Time of its first record."""
    answered: float | None = None
    """Time of its last record."""
    tools: tuple[str, ...] = ()
    """Names of the tools called."""
    starts: list[str] | None = None
    """Ids of those calls that started a sub-agent or a background task."""
    shown_chars: int = 0
    """Characters that its records show."""
    shown_tokens: int = 0
    """The same in tokens, if there is a tokenizer."""

    @property
    def is_placeholder(self) -> bool:
        """True if its recorded output is too small for what its records show."""
        return self.output_tokens * CHARS_PER_TOKEN < self.shown_chars

    @property
    def asked(self) -> float | None:
        """Time of the last input before it."""
        if not self.came:
            return self.other
        return max((at for at in (self.other, *(one.at for one in self.came)) if at is not None), default=None)


class Agent(msgspec.Struct):
    """The main conversation of a session, or one sub-agent."""

    responses: list[Response] = []
    version: str = ""
    model: str = ""
    """Model of its first response."""
    run: str = ""
    """The workflow that it belongs to."""
    launched: dict[str, str] = {}
    """Sub-agent, workflow or background shell, to the id of the call that started it."""
    prompts: dict[str, int] = {}
    """Call that started a sub-agent, to a hash of its prompt."""
    names: dict[str, str] = {}
    """Call that started something, to the name of its tool."""
    first_prompt: int = 0
    """Hash of this agent's own first prompt."""
    maybe: str = ""
    """For an agent without id: the only call in its session that was still unanswered when it began."""
    queued: list[tuple[int, str, str]] = []
    """Queued notifications: the response they precede, the task and the call."""
    last: float | None = None
    """Time of its last record."""

    @property
    def began(self) -> float | None:
        """Return when its first prompt was there."""
        first = self.responses[0]
        return first.first if first.asked is None else first.asked


class Part(msgspec.Struct):
    """What one file holds of one session, including sub-agents; the main conversation is agent ``""``."""

    name: str
    path: str
    agents: dict[str, Agent] = {}
    results: list[tuple[int, int]] = []
    """Output tokens up to each result in the stream, according to it and to the responses before it."""
    goes_on: bool = False
    """True if these are further responses of the part before."""
