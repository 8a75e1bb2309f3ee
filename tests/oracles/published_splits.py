"""Predicted beside published throughputs of mixtures in splits: `python tests/oracles/published_splits.py` prints them.

All ranks have the same batch. Where prompts and answers are mixed, each prompt is computed in a step of its own, beside
the decoding requests: of `output_tokens` steps as many as there are requests have a prompt.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.kv import served_with
from continuum_sim.hardware.splits import parse_split
from continuum_sim.steptime import Roofline, StepBatch
from continuum_sim.steptime.batch import prefill_pairs

CONFIGS: Final = Path(__file__).parent / "configs"
PUBLISHED: Final[list[dict[str, Any]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))[
    "published"
]


@dataclass(frozen=True)
class Predicted:
    """Tokens a second of one GPU."""

    name: str
    published: float
    predicted: float

    @property
    def error(self) -> float:
        """Relative to what is published."""
        return self.predicted / self.published - 1


def predictions() -> list[Predicted]:
    """All of them, in the order of the list."""
    return [_predicted(one) for one in PUBLISHED]


def table() -> str:
    """Return the table of docs/step-time.md."""
    rows = [
        f"| {one.name} | {one.published:,.0f} | {one.predicted:,.0f} | {_percent(one.error)} |" for one in predictions()
    ]
    return "\n".join(["| engine | published | predicted | error |", "| --- | ---: | ---: | ---: |", *rows])


def _percent(share: float) -> str:
    return f"{round(100 * share) + 0:+d} %".replace("-", "−")


def _predicted(one: dict[str, Any]) -> Predicted:
    parallel = parse_split(one["split"])
    links = {name: one[name] for name in ("all2all_backend", "enable_dbo") if name in one}
    parallel = replace(parallel, **links)
    model = served_with(find_model(CONFIGS / one["model"]), one.get("kv_dtype", "auto"))
    timed = Roofline(model, find_gpu(one["gpu"]), parallel)
    seconds = sum(n * timed.step_s(batch) for n, batch in _steps(one))
    tokens = one["tokens"] if "tokens" in one else one["requests"] * one["output_tokens"]
    return Predicted(one["name"], one["tokens_per_s"], tokens / seconds)


def _steps(one: dict[str, Any]) -> list[tuple[int, StepBatch]]:
    """Return batches, and how often each is run."""
    prompt, answer = one["input_tokens"], one["output_tokens"]
    pairs = prefill_pairs(prompt, 0)
    if "tokens" in one:
        prompts = one["tokens"] / prompt
        return [(1, StepBatch(round(prompts), one["tokens"], 0, round(prompts * pairs), 0, 0))]
    requests, context = one["requests"], prompt + answer // 2
    decoding = StepBatch(0, 0, 0, 0, requests, requests * context)
    if one.get("only") == "decode":
        return [(answer, decoding)]
    mixed = StepBatch(1, prompt, 0, pairs, requests - 1, (requests - 1) * context)
    return [(answer - requests, decoding), (requests, mixed)]


if __name__ == "__main__":
    print(table())
