"""Settings of clients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from continuum_sim.vllm_defaults import CLIENT_RETRIES


@dataclass(frozen=True)
class ClientConfig:
    """How patient clients are; by default they wait for every token."""

    abort_rate: float = 0.0
    """Probability that a client hangs up before the last token of a turn; its program then goes on."""
    request_timeout_s: float = math.inf
    """Seconds after which a client gives up on a request."""
    job_timeout_s: float = math.inf
    """Seconds after its arrival when a program is given up, sub-agents included."""
    retries: int = CLIENT_RETRIES
    """How often a turn that timed out or was refused is sent again before its program is given up."""
    delay_s: float = 0.0
    """Seconds that every turn spends between client and engine (HTTP, tokenising, detokenising), half of them before
    the engine has it, half before its tokens are back. Of a client that hangs up after some tokens (`abort_rate`) the
    engine hears at once."""

    @property
    def way_s(self) -> float:
        """Seconds from client to engine, and from engine to client."""
        return self.delay_s / 2

    @property
    def patient(self) -> bool:
        """Whether every client waits for every token."""
        return not self.abort_rate and math.isinf(self.request_timeout_s) and math.isinf(self.job_timeout_s)


PATIENT: Final = ClientConfig()


def client_config(
    abort_rate: float, request_timeout: float | None, job_timeout: float | None, retry: int, delay_s: float = 0.0
) -> ClientConfig:
    """Combine the settings of the command line; None means never."""
    return ClientConfig(
        abort_rate,
        math.inf if request_timeout is None else request_timeout,
        math.inf if job_timeout is None else job_timeout,
        retry,
        delay_s,
    )
