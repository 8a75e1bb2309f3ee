"""What the GPUs of a split tell one another in a step: all-reduces, logits, and tokens on their way to experts."""

from __future__ import annotations

from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime.communication import FREE, Communication
from continuum_sim.steptime.exchange import NO_EXCHANGE, exchanges
from continuum_sim.steptime.moving import all_reduces


class Told:
    """The communication of a model's steps on one split, over the link of `gpu` if `parallel` names none."""

    def __init__(self, model: ModelSpec, parallel: Parallel, gpu: GpuSpec | None) -> None:
        size = parallel.tensor_parallel_size
        self.reduces, self.reduce, self.gather, self.exchange = 0, FREE, FREE, NO_EXCHANGE
        self.token_bytes, self.row_bytes = model.hidden * model.dtype_bytes, model.vocab * model.dtype_bytes
        self.anything = size > 1 or (parallel.data_parallel_size > 1 and bool(model.expert_weights()))
        self.links = links = Communication(gpu, parallel) if gpu is not None else None
        if not self.anything:
            return
        if links is None:
            raise ConfigError(f"{parallel.gpus} GPUs tell one another what they computed: give the gpu, for its link")
        self.reduces, self.reduce = all_reduces(model, parallel), links.cost("all_reduce", size)
        self.gather = links.cost("all_gather", size)
        self.exchange = exchanges(model, parallel, links)

    def seconds(self, tokens: int, rows: int, all_tokens: int) -> float:
        """Return the seconds of a step with so many tokens, rows of logits, and tokens of all ranks.

        All GPUs gather the logits (`_gather_logits` of vllm/model_executor/layers/logits_processor.py).
        """
        return (
            self.reduces * self.reduce.seconds(self.token_bytes * tokens)
            + self.gather.seconds(self.row_bytes * rows)
            + self.exchange.latency_s
            + self.exchange.token_s * all_tokens
        )

    def describe(self) -> dict[str, Any]:
        """Return the link, and what operations take on it, under one key; nothing for one GPU."""
        if not self.anything or self.links is None:
            return {}
        told: dict[str, Any] = {"link": self.links.link.name}
        if self.links.node_link is not None:
            told["node_link"] = self.links.node_link.name
        for name, cost in (("all_reduce", self.reduce), ("all_gather", self.gather)):
            if cost != FREE:
                told[name] = {"latency_s": cost.latency_s, "bytes_per_s": cost.bytes_per_s}
        if self.exchange != NO_EXCHANGE:
            told["exchange"] = {"latency_s": self.exchange.latency_s, "token_s": self.exchange.token_s}
        return {"communication": told}
