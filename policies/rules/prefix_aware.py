"""`prefix-aware`: a turn goes where most of its prompt is cached, unless that replica is swamped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from continuum_sim.policies import PolicyError, ReplicaView, RoutedTurn, Router, Routing, register_routing
from continuum_sim.policies.rules.least_loaded import turns_in

INDEXES = ("routed", "events")


@register_routing("prefix-aware")
@dataclass(frozen=True)
class PrefixAware(Routing):
    """Turns go to the replica that holds the longest prefix of the prompt, if that is more than `match` of the prompt.

    Otherwise, and whenever the longest queue (running and waiting) exceeds the shortest by more than `balance_abs`
    turns and is more than `balance_rel` times as long, they go to the shortest queue; ties go to the replica with the
    fewest open programs. What a replica holds is inferred from the prompts sent there (`index=routed`, which never
    learns of evictions) or read from its cache events (`index=events`, which do report them).

    Source: `cache_aware` of the SGLang router, with its defaults (docs of lightseekorg/smg: 0.3, 64, 1.5);
    `prefixaware` of the vLLM production stack; approximate and precise prefix scorers of llm-d. If no prefix matches,
    SGLang chooses the replica with the smallest index; its index is bounded, and this one is not.
    """

    index: str = field(default="routed", metadata={"help": "routed: prompts sent before; events: what is cached now"})
    match: float = field(default=0.3, metadata={"help": "share of the prompt above which a prefix decides"})
    balance_abs: int = field(default=64, metadata={"help": "turns by which queues may differ"})
    balance_rel: float = field(default=1.5, metadata={"help": "ratio by which queues may differ"})

    def __post_init__(self) -> None:
        if self.index not in INDEXES:
            raise PolicyError(f"index is {self.index!r}, expected one of {', '.join(INDEXES)}")
        if not 0 <= self.match <= 1:
            raise PolicyError(f"match is {self.match}, expected a share from 0 to 1")
        if self.balance_abs < 0:
            raise PolicyError(f"balance_abs is {self.balance_abs}, expected a number of turns, 0 or more")
        if not self.balance_rel >= 1:
            raise PolicyError(f"balance_rel is {self.balance_rel}, expected a ratio of 1 or more")

    def start(self) -> Router:
        """Make a router with an empty index."""
        return _PrefixAware(self)


class _PrefixAware(Router):
    def __init__(self, rule: PrefixAware) -> None:
        self._rule = rule
        self._sent: dict[str, dict[int, int]] = {}
        """Program -> replica -> how many leading tokens of its latest prompt were sent there."""
        self._shared: dict[str, dict[int, int]] = {}
        """The same for prefixes that programs share; these entries outlast the programs."""

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Balance if necessary, else follow the longest match; ties go to the shortest queue."""
        rule = self._rule
        queues = [turns_in(replica) for replica in replicas]
        longest, shortest = max(queues), min(queues)
        matched = self._matched(turn, replicas)
        candidates: Sequence[int] = range(len(replicas))
        balanced = longest - shortest <= rule.balance_abs or longest <= rule.balance_rel * shortest
        if balanced and (best := max(matched)) > rule.match * turn.prompt_tokens:
            candidates = [at for at in candidates if matched[at] == best]
        at = min(candidates, key=lambda at: (queues[at], replicas[at].open_programs, replicas[at].number))
        chosen = replicas[at].number
        if rule.index == "routed":
            self._sent[turn.program_id][chosen] = turn.prompt_tokens
            if turn.prefix_id is not None:
                self._shared.setdefault(turn.prefix_id, {})[chosen] = turn.prefix_tokens
        return chosen

    def program_left(self, program_id: str) -> None:
        """Forget the program's prompts: no other program begins with them."""
        self._sent.pop(program_id, None)

    def _matched(self, turn: RoutedTurn, replicas: Sequence[ReplicaView]) -> list[int]:
        """Return how many leading prompt tokens each replica holds, as far as the index knows."""
        if self._rule.index == "events":
            return [replica.cached_tokens(turn) for replica in replicas]
        sent = self._sent.setdefault(turn.program_id, {})
        for number, tokens in sent.items():
            sent[number] = min(tokens, turn.kept_tokens)
        shared = self._shared.get(turn.prefix_id, {}) if turn.prefix_id is not None else {}
        return [max(sent.get(r.number, 0), min(shared.get(r.number, 0), turn.prefix_tokens)) for r in replicas]
