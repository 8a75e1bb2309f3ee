"""A fit or profile of another model, GPU or split says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.measured import measured_elsewhere
from continuum_sim.traces import Program, Turn

FIT = {"kind": "fitted", "c0_s": 0.004, "per_token_s": 2e-5, "per_decode_context_token_s": 0, "per_prefill_pair_s": 0}


@pytest.mark.parametrize(
    ("provenance", "said"),
    [
        ({}, []),
        (None, []),
        ({"model": "meta-llama/Llama-3.1-8B-Instruct", "device": "NVIDIA H100 80GB HBM3"}, []),
        ({"model": "/models/llama-3.1-8b", "gpu": "NVIDIA H100 SXM5", "tensor_parallel_size": 1}, []),
        ({"model": "Qwen/Qwen3-32B"}, ["model Qwen/Qwen3-32B"]),
        ({"device": "NVIDIA A100-SXM4-80GB"}, ["GPU NVIDIA A100-SXM4-80GB"]),
        ({"device": "AMD EPYC 9B14, 2 cores"}, ["GPU AMD EPYC 9B14, 2 cores"]),
        ({"device": "as the server's"}, []),
        ({"tensor_parallel_size": 2}, ["tensor parallel size 2"]),
        ({"model": "tiny", "device": "NVIDIA H200", "tensor_parallel_size": 8}, ["model", "GPU", "tensor parallel"]),
    ],
)
def test_what_differs_is_named(provenance: Any, said: list[str]) -> None:
    model, gpu = find_model("llama-3.1-8b"), find_gpu("h100")
    notes = measured_elsewhere(provenance, model=model, gpu=gpu, tensor_parallel_size=1, owner="--step-time x")
    assert len(notes) == len(said)
    assert all(each in note for each, note in zip(said, notes, strict=True))


@pytest.mark.parametrize(
    ("gpu", "device"),
    [
        ("a100-80", "NVIDIA A100-SXM4-80GB"),
        ("a100-40", "NVIDIA A100-SXM4-40GB"),
        ("rtx-4090", "NVIDIA GeForce RTX 4090"),
        ("rtx-pro-6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition"),
        ("h200", "NVIDIA H200"),
        ("b200", "NVIDIA B200"),
        ("l40s", "NVIDIA L40S"),
        ("h100-nvl", "NVIDIA H100 NVL"),
        ("a100-80-pcie", "NVIDIA A100 80GB PCIe"),
        ("gh200", "NVIDIA GH200 480GB"),
        ("rtx-6000-ada", "NVIDIA RTX 6000 Ada Generation"),
        ("mi300x", "AMD Instinct MI300X"),
    ],
)
def test_gpus_are_known_by_what_the_driver_calls_them(gpu: str, device: str) -> None:
    told = {"device": device}
    model, card = find_model("llama-3.1-8b"), find_gpu(gpu)
    assert not measured_elsewhere(told, model=model, gpu=card, tensor_parallel_size=1, owner="")
    other = find_gpu("h100")
    assert measured_elsewhere(told, model=model, gpu=other, tensor_parallel_size=1, owner="")


def test_a_run_says_it(tmp_path: Path) -> None:
    fit = tmp_path / "fit.json"
    fit.write_text(json.dumps({**FIT, "provenance": {"model": "Qwen/Qwen3-32B", "device": "NVIDIA H100 80GB HBM3"}}))
    asked: dict[str, Any] = {"trace": [Program("a", (Turn(100, 0, 4),))], "step_time": f"fitted:{fit}"}
    notes = [note for note in resolve(RunConfig(**asked, model="llama-3.1-8b", gpu="h100")).notes if "measured" in note]
    assert notes == [
        f"--step-time fitted:{fit} was measured with the model Qwen/Qwen3-32B, this run has Llama-3.1-8B: its times "
        "are not of this engine"
    ]
