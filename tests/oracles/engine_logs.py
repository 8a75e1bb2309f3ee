"""Estimates of KV memory beside what published engines logged: `python tests/oracles/engine_logs.py` writes them."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from continuum_sim.hardware import GpuSpec, ModelSpec, find_gpu, find_model, kv_bytes_per_token, kv_memory
from continuum_sim.hardware.gpus import GIB
from continuum_sim.hardware.groups import model_groups
from continuum_sim.hardware.kv import served_with
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.profiled_memory import CURRENT, FUSED, SORTING, Profile

CONFIGS: Final = Path(__file__).parent / "configs"
TABLE: Final = Path(__file__).parents[2] / "docs/kv-logs.csv"
LOGS: Final[list[dict[str, Any]]] = [
    log
    for name in ("engine_logs.toml", "split_logs.toml")
    for log in tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))["log"]
]
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
    """Return the table of the docs, `docs/kv-logs.csv`: GiB of each GPU."""
    text = io.StringIO()
    rows = [
        [each.name, each.vllm, f"{each.logged:.2f}", f"{each.estimated:.2f}", f"{100 * each.error:+.1f}"]
        for each in estimates()
    ]
    head = ["engine", "vllm", "logged_gib", "estimated_gib", "error_percent"]
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()


def _estimate(log: dict[str, Any]) -> Estimate:
    model, gpu = model_of(log), _gpu(log)
    memory = kv_memory(model, gpu, parallel=parallel_of(log), profile=PROFILES[log["vllm"]], **log["settings"])
    tokens = log["blocks"] * 16 if "blocks" in log else log.get("tokens", 0)
    logged = log.get("kv_gib", kv_bytes_per_token(model) * tokens / GIB)
    if "concurrency" in log:
        logged = log["concurrency"] * _request_bytes(log, model) / GIB
    return Estimate(log["name"], log["vllm"], logged, memory.kv_bytes / GIB)


def _request_bytes(log: dict[str, Any], model: ModelSpec) -> int:
    """Bytes of a request of `max_model_len`, with a step planned ahead."""
    settings = log["settings"]
    groups = model_groups(
        served_with(model, settings["kv_dtype"]),
        tensor_parallel_size=parallel_of(log).tensor_parallel_size,
        block_size=settings["block_size"],
        max_model_len=log["max_model_len"],
    )
    return groups.bytes_of_request(log["max_model_len"], settings["max_num_batched_tokens"], 2)


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
    TABLE.write_text(table(), "utf-8")
