"""Each GPU of a split holds what vLLM's own classes make on it, and has as many KV blocks."""

from __future__ import annotations

from typing import Any

import pytest
from oracles.ask_splits import CONFIGS, KV_BYTES, ask_apart, asked, read_answers
from oracles.mirrored import of_the_day, skip_unless_mirrored

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_model
from continuum_sim.hardware.groups import model_groups
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.split_rules import check_split
from continuum_sim.hardware.stages import stage_layers, stages

RECORDS = read_answers()
BUILT = [record for record in RECORDS if "error" not in record["answer"]]
REFUSED = {"gemma-3n-e2b-text", "zamba2-1.2b", "mamba-codestral-7b"}
"""The oracle builds stages of classes that vLLM's check refuses, as is checked elsewhere."""


def _id(record: dict[str, Any]) -> str:
    return f"{record['config']} {record['split']}"


def test_every_question_is_answered_once() -> None:
    assert [(record["config"], record["split"]) for record in RECORDS] == asked()
    assert len(BUILT) > 230
    assert sum("enable_expert_parallel" in record["split"] for record in BUILT) > 40


@pytest.mark.parametrize("record", BUILT, ids=_id)
def test_weights_and_blocks_are_those_of_vllm(record: dict[str, Any]) -> None:
    model, parallel = find_model(CONFIGS / record["config"]), Parallel(**record["split"])
    if record["config"] in REFUSED:
        with pytest.raises(ConfigError, match="pipeline parallelism is not supported"):
            check_split(model, parallel)
        return
    check_split(model, parallel)
    weights = [stage.weight_bytes_per_rank(parallel) for stage in stages(model, parallel)]
    assert weights == pytest.approx(record["answer"]["weight_bytes"], rel=0.01)
    groups = model_groups(model, tensor_parallel_size=parallel.tensor_parallel_size)
    blocks = [
        KV_BYTES // groups.stage_bytes_per_block(layers)
        for layers in stage_layers(model, parallel.pipeline_parallel_size)
    ]
    assert min(blocks) == record["answer"]["num_blocks"]


@pytest.mark.engine
@pytest.mark.slow
def test_vllm_still_answers_so() -> None:
    skip_unless_mirrored("tests/oracles/ask_splits.py asks anew")
    for record in of_the_day(BUILT, 2, _id):
        assert ask_apart(record["config"], record["split"]) == record["answer"], _id(record)
