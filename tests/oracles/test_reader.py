"""What our reader makes of every configuration, beside vLLM's answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from oracles.compare import TABLE, compare, table
from oracles.refresh import CONFIGS, QUESTIONS, key, read_answers

from continuum_sim.hardware import find_model, models

RECORDS = read_answers()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: key(record["config"], record["question"]))
def test_as_vllm_reads_it(record: dict[str, Any]) -> None:
    """Weights within 1 %, blocks, lengths and capacities exact, and refused where vLLM refuses."""
    rows = compare(record)
    assert rows
    assert [row for row in rows if not row.right] == []


def test_the_table_of_the_docs_is_of_today() -> None:
    assert TABLE.read_text("utf-8") == table(), "run python tests/oracles/compare.py"


@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_the_catalogue_says_what_a_published_configuration_says(model: Any) -> None:
    published = CONFIGS / CATALOGUE[model.name]
    read = find_model(published)
    assert (read.weights, read.caches) == (model.weights, model.caches)
    assert (read.max_model_len, read.longest_model_len) == (model.max_model_len, model.longest_model_len)


CATALOGUE = {
    "Llama-3.1-8B": "llama-3.1-8b",
    "Llama-3.1-70B": "llama-3.1-70b",
    "Llama-3.2-1B": "llama-3.2-1b",
    "Llama-3.2-3B": "llama-3.2-3b",
    "Qwen3-4B": "qwen3-4b",
    "Qwen3-8B": "qwen3-8b",
    "Qwen3-14B": "qwen3-14b",
    "Qwen3-32B": "qwen3-32b",
    "Qwen2.5-7B": "qwen2.5-7b",
    "Qwen2.5-32B": "qwen2.5-32b",
    "Mistral-Small-24B": "mistral-small-24b-2501",
    "Gemma-3-4B": "gemma-3-4b",
    "Gemma-3-12B": "gemma-3-12b",
    "Gemma-3-27B": "gemma-3-27b",
}


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
