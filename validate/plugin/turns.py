"""Requests inside the engine, seen as turns of programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from continuum_sim.policies.views import TurnView
from continuum_sim.validate.plugin.identity import TurnIdentity


@dataclass(slots=True, eq=False)
class LiveTurn:
    """One request from its arrival to its end."""

    view: TurnView
    identity: TurnIdentity | None
    """What its client said about it; None for a request without a program."""
    leads: bool
    """Whether this request is the program's current turn, which takes over the pin and whose end is the turn's end.
    False for requests without a program and for those that arrive while another of the program waits or runs."""
    running: bool = False
    """True while it is in the batch."""
    start_tokens: int = 0
    """Cached tokens when it was admitted."""
    computed_tokens: int = 0
    """Tokens computed for it before it was preempted."""

    def admitted(self, cached_tokens: int) -> None:
        """Record that it entered the batch."""
        self.running = True
        self.start_tokens = cached_tokens

    def so_far(self, request: Any) -> TurnView:
        """Return the view, updated with the tokens computed since it was admitted."""
        self.view.computed_tokens = self.computed_tokens + max(0, request.num_computed_tokens - self.start_tokens)
        return self.view

    def left(self, request: Any) -> None:
        """Record that it leaves the batch, while vLLM still knows what it has computed."""
        if self.running:
            self.computed_tokens += max(0, request.num_computed_tokens - self.start_tokens)
            self.running = False


def ended_well(request: Any, status: Any) -> bool:
    """Return whether a finished request is the end of a turn, as opposed to one that was aborted.

    A stop string is found by vLLM's front end, which then aborts the request; so a request with stop strings that
    is aborted after it has sampled something counts as ended.
    """
    if request.status in (
        status.FINISHED_STOPPED,
        status.FINISHED_LENGTH_CAPPED,
        status.FINISHED_REPETITION,
    ):
        return True
    stop_strings = bool(request.sampling_params is not None and request.sampling_params.stop)
    return request.status == status.FINISHED_ABORTED and stop_strings and request.num_output_tokens > 0
