"""Estimates of KV memory beside what published engines logged: `python tests/oracles/engine_logs.py` prints them."""

from __future__ import annotations

import json
import tempfile
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from continuum_sim.hardware import GpuSpec, ModelSpec, find_gpu, find_model, kv_bytes_per_token, kv_memory
from continuum_sim.hardware.gpus import GIB
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.profiled_memory import CURRENT, FUSED, SORTING, Profile

CONFIGS: Final = Path(__file__).parent / "configs"
LOGS: Final[list[dict[str, Any]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["log"]
PROFILES: Final[dict[str, Profile]] = {
    "0.10.1, FlashInfer's sampler": replace(FUSED, keeps_workspace=False),
    "0.10.2, PyTorch's sampler": SORTING,
    "0.11": SORTING,
    "0.19": FUSED,
    "before 0.21": FUSED,
    "0.26": CURRENT,
}
"""What the engine of a log says of its version -> what that keeps."""


@dataclass(frozen=True)
class Estimate:
    """Of one log, in GiB of each GPU."""

    name: str
    vllm: str
    logged: float
    estimated: float

    @property
    def error(self) -> float:
        """Relative to the log."""
        return self.estimated / self.logged - 1


def estimates() -> list[Estimate]:
    """All of them, in the order of the list."""
    return [_estimate(log) for log in LOGS]


def table() -> str:
    """Return the table of docs/step-time.md."""
    rows = [
        f"| {each.name} | {each.vllm} | {each.logged:.2f} | {each.estimated:.2f} | {_percent(each.error)} |"
        for each in estimates()
    ]
    return "\n".join(["| engine | vLLM | logged GiB | estimate | error |", "| --- | --- | ---: | ---: | ---: |", *rows])


def _percent(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f} %".replace("-", "−")


def _estimate(log: dict[str, Any]) -> Estimate:
    model, gpu = model_of(log), _gpu(log)
    memory = kv_memory(model, gpu, parallel=parallel_of(log), profile=PROFILES[log["vllm"]], **log["settings"])
    tokens = log["blocks"] * 16 if "blocks" in log else log.get("tokens", 0)
    logged = log.get("kv_gib", kv_bytes_per_token(model) * tokens / GIB)
    return Estimate(log["name"], log["vllm"], logged, memory.kv_bytes / GIB)


def _gpu(log: dict[str, Any]) -> GpuSpec:
    gpu = find_gpu(log["gpu"])
    return replace(gpu, memory_bytes=round(log["memory_gib"] * GIB)) if "memory_gib" in log else gpu


def parallel_of(log: dict[str, Any]) -> Parallel:
    return Parallel(**log.get("parallel", {}))


def model_of(log: dict[str, Any]) -> ModelSpec:
    folder = CONFIGS / log["model"]
    if "quantization_of" not in log:
        return find_model(folder)
    names = (log["model"], log["quantization_of"])
    fields, other = (json.loads((CONFIGS / name / "config.json").read_text("utf-8")) for name in names)
    with tempfile.TemporaryDirectory() as made:
        Path(made, "config.json").write_text(json.dumps(fields | {"quantization_config": other["quantization_config"]}))
        return find_model(made)


if __name__ == "__main__":
    print(table())
