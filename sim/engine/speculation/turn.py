"""What an engine with speculative decoding knows of one turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuum_sim.engine.speculation.accepted import AcceptedDrafts

if TYPE_CHECKING:
    from continuum_sim.engine.request import Request


class DraftedTurn:
    """A turn's drafts and slots.

    The simulator knows what a step will give as soon as it is planned; vLLM does not, and reckons with every draft
    being accepted until the step is over.
    """

    __slots__ = ("accepted", "coming_tokens", "in_flight_tokens", "known_tokens", "last_draw", "slots")

    def __init__(self, accepted: AcceptedDrafts) -> None:
        self.accepted = accepted
        self.in_flight_tokens = 0
        """Tokens of the turn in the latest planned step, if that is not over: sampled ones and drafts."""
        self.coming_tokens = 0
        """Tokens that this step gives the turn."""
        self.slots = 0
        """Tokens that the turn's blocks were allocated for. They are never given back while it runs."""
        self.known_tokens = 0
        """Tokens that were known when the turn was last scheduled."""
        self.last_draw = -1
        """The draw that gives the turn its last token, if every step verifies all drafts; -1 until it is looked up."""


def drafted(request: Request) -> DraftedTurn:
    """Return what the engine knows of a turn's drafts."""
    assert request.drafted is not None
    return request.drafted
