"""The KV cache groups that a vLLM engine tells of."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.results.jsonfile import to_json
from continuum_sim.validate.engines.interface import EngineFacts
from continuum_sim.validate.engines.vllm_groups import groups_of
from continuum_sim.validate.parity.vllm_harness import make_vllm_scheduler
from continuum_sim.vllm_defaults import nearest_mirrored
from support.fake_engine import facts

LAYOUTS = (
    (GroupSpec("sliding", 16, 100), GroupSpec("full", 16)),
    (GroupSpec("chunked", 16, 64), GroupSpec("full", 16)),
    (GroupSpec("full", 16), GroupSpec("recurrent", 16, checkpoints=True)),
    (GroupSpec("recurrent", 16),),
)


@pytest.mark.engine
@pytest.mark.parametrize("groups", LAYOUTS)
def test_groups_are_read_as_they_were_given(groups: tuple[GroupSpec, ...]) -> None:
    pytest.importorskip("vllm")
    config = EngineConfig(100, max_model_len=256, max_num_seqs=4, kv_cache_groups=groups)
    told = groups_of(make_vllm_scheduler(config).kv_cache_config)
    assert told == {"kv_cache_groups": [asdict(group) for group in groups], "prefix_cache_retention_interval": 0}


@pytest.mark.engine
def test_one_group_that_keeps_all_tokens_goes_without_saying() -> None:
    pytest.importorskip("vllm")
    config = EngineConfig(100, max_model_len=256, max_num_seqs=4)
    assert groups_of(make_vllm_scheduler(config).kv_cache_config)["kv_cache_groups"] == []


def test_facts_with_groups_survive_a_file() -> None:
    told = replace(facts(), kv_cache_groups=LAYOUTS[0], prefix_cache_retention_interval=None)
    assert EngineFacts(**json.loads(to_json(asdict(told)))) == told
    assert told.config().kv_cache_groups == LAYOUTS[0]
    assert told.config().prefix_cache_retention_interval is None


@pytest.mark.parametrize(
    ("version", "nearest"),
    [("0.32.0", "0.32"), ("0.33.1+cpu", "0.33"), ("0.34.0rc1", "0.33"), ("0.11.2", "0.32"), ("1.0", "0.33")],
)
def test_an_engine_is_mirrored_as_the_version_nearest_to_its_own(version: str, nearest: str) -> None:
    assert nearest_mirrored(version) == nearest
    assert replace(facts(), version=version).config().vllm_version == nearest
