"""What is known of configuration classes and of vLLM's architectures is what an installed vLLM says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from oracles.class_defaults import ARCHITECTURES, TARGET, all_defaults, pipelines, registered
from oracles.mirrored import of_the_day, skip_unless_mirrored

DEFAULTS: dict[str, dict[str, Any]] = json.loads(TARGET.read_text("utf-8"))
NAMES: dict[str, Any] = json.loads(ARCHITECTURES.read_text("utf-8"))
REMEDY = "class_defaults.py writes them anew"


@pytest.mark.engine
@pytest.mark.slow
def test_classes_still_hold_these_defaults() -> None:
    skip_unless_mirrored(REMEDY)
    today = of_the_day(list(DEFAULTS), 3, str)
    assert all_defaults(today) == {name: DEFAULTS[name] for name in today}


@pytest.mark.engine
@pytest.mark.slow
def test_classes_without_pipeline_stages_are_these() -> None:
    skip_unless_mirrored(REMEDY)
    names = [*NAMES["text"][:: len(NAMES["text"]) // 8], "Zamba2ForCausalLM", "Mamba2ForCausalLM"]
    found = {name: pipelines(name) for name in names}
    assert {name for name, stages in found.items() if stages is False} == {*NAMES["no_pipeline"]} & {*names}


@pytest.mark.engine
@pytest.mark.slow
def test_vllm_still_has_these_architectures() -> None:
    skip_unless_mirrored(REMEDY)
    found = registered()
    assert {kind: found[kind] for kind in ("text", "multimodal", "pooling", "draft", "plugin")} == {
        kind: NAMES[kind] for kind in ("text", "multimodal", "pooling", "draft", "plugin")
    }
    assert found["removed"].items() >= NAMES["removed"].items()


def test_every_name_of_an_architecture_is_of_one_kind() -> None:
    names = [name for kind, named in NAMES.items() if kind != "no_pipeline" for name in named]
    assert len(names) == len(set(names))
    kinds = {"text", "multimodal", "pooling", "draft", "removed", "plugin", "transformers", "refused"}
    assert set(NAMES) == kinds | {"no_pipeline"}
    assert set(NAMES["no_pipeline"]) <= {*NAMES["text"], *NAMES["multimodal"]}
