"""What is kept of a Claude Code session: its agents, and of each its responses and what came before them."""

from __future__ import annotations

from typing import Final

import msgspec

CHARS_PER_TOKEN: Final = 10
"""No text has so many once runs of a character count as one: an output that would need it was not recorded."""


class Came(msgspec.Struct, array_like=True, gc=False):
    """What told, before a response, of a sub-agent or of something in the background."""

    at: float | None
    """Seconds since 1970."""
    tool: str = ""
    """Id of the call of a sub-agent or shell that it answers, or that launched what has ended."""
    task: str = ""
    """The sub-agent or shell that has ended."""
    ended: bool = False
    """Whether it says that what the call started has ended."""
    is_news: bool = False
    """Whether it came by itself rather than as an answer."""


class Response(msgspec.Struct, array_like=True, gc=False):
    """One LLM call, put together from its records; times in seconds since 1970."""

    id: int
    """Hash of its ``message.id``."""
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    compacted: bool
    came: list[Came] | None
    """What told of sub-agents and the like before it."""
    other: float | None
    """When the last of anything else came: answers of other tools, messages."""
    from_user: bool
    """Whether a person's message was among that."""
    parent: int
    """Which record it answers, 0 if that is not known."""
    goes_on_from: int | None
    """Index of the response before it in its branch: -1 if it has none, ``None`` if that is not known."""
    first: float | None = None
    """When its first record was written ..."""
    answered: float | None = None
    """... and its last."""
    tools: tuple[str, ...] = ()
    """Names of the tools called."""
    starts: list[str] | None = None
    """Ids of those calls that started a sub-agent, or something in the background."""
    shown_chars: int = 0
    """What its records show, in characters."""
    shown_tokens: int = 0
    """The same in tokens, with a tokenizer."""

    @property
    def is_placeholder(self) -> bool:
        """Whether its recorded output cannot hold what its records show."""
        return self.output_tokens * CHARS_PER_TOKEN < self.shown_chars

    @property
    def asked(self) -> float | None:
        """When the last of what came before it was there."""
        if not self.came:
            return self.other
        return max((at for at in (self.other, *(one.at for one in self.came)) if at is not None), default=None)


class Agent(msgspec.Struct):
    """The main conversation of a session, or one sub-agent."""

    responses: list[Response] = []
    version: str = ""
    model: str = ""
    """Of its first response."""
    run: str = ""
    """The workflow it is part of."""
    launched: dict[str, str] = {}
    """Sub-agent, workflow or shell in the background to the id of the call that started it."""
    prompts: dict[str, int] = {}
    """Call that starts a sub-agent to a hash of what it is told."""
    names: dict[str, str] = {}
    """Call that started something to the name of its tool."""
    first_prompt: int = 0
    """Hash of what it was told itself."""
    maybe: str = ""
    """Of one without an id: the only call in its session that had no answer yet when it began."""
    queued: list[tuple[int, str, str]] = []
    """News that was queued: before which response, task and call."""
    last: float | None = None
    """Time of its last record."""

    @property
    def began(self) -> float | None:
        """When its first prompt was there."""
        first = self.responses[0]
        return first.first if first.asked is None else first.asked


class Part(msgspec.Struct):
    """What one file has of one session, sub-agents included; the main conversation is agent ``""``."""

    name: str
    path: str
    agents: dict[str, Agent] = {}
    results: list[tuple[int, int]] = []
    """Output tokens so far by a result of the stream, and by the responses before it."""
    goes_on: bool = False
    """Whether these are more responses of the part before."""
