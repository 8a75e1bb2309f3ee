"""What our reader makes of every configuration, beside vLLM's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oracles.compare import TABLE, compare, table
from oracles.refresh import CONFIGS, QUESTIONS, key, read_answers

from continuum_sim.hardware import find_model

RECORDS = read_answers()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: key(record["config"], record["question"]))
def test_as_vllm_reads_it(record: dict[str, Any]) -> None:
    """Weights within 1 %, blocks, lengths and capacities exact, and refused where vLLM refuses."""
    rows = compare(record)
    assert rows
    assert [row for row in rows if not row.right] == []


def test_the_table_of_the_docs_is_of_today() -> None:
    assert TABLE.read_text("utf-8") == table(), "run python tests/oracles/compare.py"


def test_vllm_was_asked_about_every_model_of_the_catalogue() -> None:
    """Where a published configuration is in the catalogue, it is the file that is asked about."""
    names = {record["config"] for record in RECORDS if "error" not in record["answer"]}
    asked = {(CONFIGS / name / "config.json").read_text("utf-8") for name in names}
    for path in (Path(__file__).parents[2] / "sim/hardware/configs").glob("*.json"):
        assert path.read_text("utf-8") in asked, path.name


def test_published_files_that_vllm_cannot_build_here_are_as_large() -> None:
    """Of what the CPU build cannot make, the files' total size is the judge."""
    entries = json.loads(QUESTIONS.read_text("utf-8"))
    compared = 0
    for name, entry in entries.items():
        if (published := entry.get("published_weight_bytes")) is not None:
            # gpt-oss's experts are filled up for the kernels.
            within = 0.1 if name.startswith("gpt-oss") else 0.01
            assert find_model(CONFIGS / name).weight_bytes == pytest.approx(published, rel=within), name
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("name", sorted({record["config"] for record in RECORDS if "error" not in record["answer"]}))
def test_layers_add_up_to_the_model(name: str) -> None:
    model = find_model(CONFIGS / name)
    outside = sum(weight.n_params for weight in model.weights if not weight.layers or weight.use == "tower")
    assert outside + sum(model.n_params_of(layer) for layer in range(model.n_layers)) == model.n_params
    assert {model.head_dim_of(layer) for layer in range(model.n_layers)} >= {model.head_dim}
