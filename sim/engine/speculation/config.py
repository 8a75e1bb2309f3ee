"""Settings of speculative decoding, under the names of vLLM's `SpeculativeConfig` (`vllm/config/speculative.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from continuum_sim.errors import ConfigError

EAGLE_METHODS: Final = ("eagle", "eagle3", "mtp")
"""Methods that draft from the model's hidden states (`use_eagle`): a block's last position then depends on the token
after it."""

METHODS: Final = ("ngram", "ngram_gpu", "draft_model", *EAGLE_METHODS)
"""Methods that are modelled."""

_NOT_MODELLED: Final = ("suffix", "medusa", "mlp_speculator", "dflash", "dspark", "custom_class")
_MOST: Final = 128
"""`MAX_SPEC_LEN` of vllm/v1/sample/rejection_sampler.py: drafts of a turn that a step can verify."""


@dataclass(frozen=True)
class SpeculationConfig:
    """How turns are drafted, and how many drafts the model accepts.

    Examples
    --------
    >>> SpeculationConfig("eagle3", 3, (0.8, 0.6, 0.4)).acceptance_length
    2.8
    """

    method: str
    """One of `METHODS`."""
    num_speculative_tokens: int
    """Drafts of a turn in each step."""
    acceptance_rates: tuple[float, ...]
    """By position: the probability that the drafts up to there are all accepted (`synthetic_acceptance_rates`)."""
    disable_eagle_block_drop: bool = False
    """Let a prompt hit the block before the first token it computes, with drafts from hidden states (experimental)."""
    disable_lookahead_block_hashes: bool = False
    """Drop that block as 0.32 does instead of hashing the token after each block (0.33)."""

    def __post_init__(self) -> None:
        if self.method in _NOT_MODELLED:
            raise ConfigError(f"speculative method {self.method!r} is not modelled; there are {', '.join(METHODS)}")
        if self.method not in METHODS:
            raise ConfigError(f"speculative method is {self.method!r}, expected one of {', '.join(METHODS)}")
        number, rates = self.num_speculative_tokens, self.acceptance_rates
        if not 1 <= number <= _MOST:
            raise ConfigError(f"num_speculative_tokens is {number}, expected 1 to {_MOST}")
        if len(rates) != number:
            raise ConfigError(f"there are {len(rates)} acceptance rates, expected {number}: one for each draft")
        if not all(0.0 <= rate <= 1.0 for rate in rates):
            raise ConfigError(f"acceptance rates are {_listed(rates)}, expected shares from 0 to 1")
        if list(rates) != sorted(rates, reverse=True):
            raise ConfigError(
                f"acceptance rates are {_listed(rates)}, expected none above the one before: a draft is accepted only "
                "if all before it are"
            )

    @property
    def acceptance_length(self) -> float:
        """Mean tokens of a turn from each step: the accepted drafts and one that the model samples."""
        return 1.0 + sum(self.acceptance_rates)

    def plans_ahead(self, vllm_version: str) -> bool:
        """Return whether vLLM, on GPUs, plans a step before it knows the drafts of the one under way."""
        return self.method != "ngram" or vllm_version != "0.32"

    @property
    def num_lookahead_tokens(self) -> int:
        """Slots that the drafter writes beyond the tokens of a step (`VllmConfig.num_lookahead_tokens`)."""
        return 0 if self.method in ("ngram", "ngram_gpu") else self.num_speculative_tokens

    @property
    def draft_slots(self) -> int:
        """Tokens of the budget that each turn of a step takes for its drafter (`max_num_new_slots_for_drafting`)."""
        return 1 if self.method == "draft_model" else 0

    def hash_lookahead_tokens(self, vllm_version: str) -> int:
        """Return the tokens after a block that its hash covers (`num_hash_lookahead_tokens`, 0.33)."""
        hashes = self._minds_next_token and not self.disable_lookahead_block_hashes and vllm_version != "0.32"
        return int(hashes)

    def drops_last_hit(self, vllm_version: str) -> bool:
        """Return whether the last block of a prefix hit is computed again (`use_eagle_block_drop`)."""
        return self._minds_next_token and not self.hash_lookahead_tokens(vllm_version)

    @property
    def _minds_next_token(self) -> bool:
        return self.method in EAGLE_METHODS and not self.disable_eagle_block_drop


def rates_of_length(length: float, drafts: int) -> tuple[float, ...]:
    """Return the rates that vLLM takes for a mean acceptance length: all full but one (`synthetic_acceptance_length`).

    Examples
    --------
    >>> rates_of_length(2.5, 3)
    (1.0, 0.5, 0.0)

    Raises
    ------
    ConfigError
        If so many drafts cannot give that length.
    """
    if not 1.0 <= length <= drafts + 1:
        raise ConfigError(f"acceptance length is {length:g}, expected 1 to {drafts + 1}, the drafts and one more")
    return tuple(min(1.0, max(0.0, length - 1 - position)) for position in range(drafts))


@lru_cache(maxsize=4096)
def bent_rates(rates: tuple[float, ...], length: float) -> tuple[float, ...]:
    """Return rates of that mean acceptance length: the given ones, all raised to one power.

    A length that these cannot give, since some are 0 or 1, is that of all rates but one at 0 or 1 (`rates_of_length`);
    one beyond all drafts accepts all.

    Examples
    --------
    >>> [round(rate, 3) for rate in bent_rates((0.8, 0.4), 1.5)]
    [0.459, 0.041]
    """
    most = len(rates) + 1
    if length >= most or not 1.0 + rates.count(1.0) < length < 1.0 + len(rates) - rates.count(0.0):
        return rates_of_length(min(length, most), len(rates))
    low, high = 0.0, 1.0
    while 1.0 + sum(rate**high for rate in rates) > length:
        low, high = high, 2 * high
    for _ in range(60):  # to the last bit
        middle = (low + high) / 2
        if 1.0 + sum(rate**middle for rate in rates) > length:
            low = middle
        else:
            high = middle
    return tuple(rate**high if rate else 0.0 for rate in rates)


def _listed(rates: tuple[float, ...]) -> str:
    return "/".join(f"{rate:g}" for rate in rates)
